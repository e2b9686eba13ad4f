import { LocalCode } from '../../lib/protocol/fault.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { ClientPeer } from '../../lib/rpc/client/client-peer.js';
import { RecordingSink, requestOf } from '../helpers/peer-pair.js';
import { Dial, fresh, world } from './connection-world.js';

describe('a connection that was open and is lost', () => {
  it('comes back by itself', async () => {
    const first = await (fresh(), world.open());
    const before = world.connection.peer;
    first.links.server.destroy();
    await world.settle();
    expect(world.connection.peer).toBeUndefined();
    await world.pass(50);
    expect(world.dials).toHaveLength(2);
    await world.dial.succeed();
    expect(world.connection.peer).not.toBe(before);
    expect(world.statuses).toEqual([
      'connecting',
      'connected',
      'disconnected',
      'reconnecting',
      'reconnecting',
      'connected',
    ]);
  });

  it('does not come back if it is closed by a listener that is told of the loss', async () => {
    const first = await (fresh(), world.open());
    world.onStatus = (status) => {
      if (status === 'disconnected') world.connection.close('enough');
    };
    first.links.server.destroy();
    await world.settle();
    await world.pass(60_000);
    expect(world.statuses).toEqual(['connecting', 'connected', 'disconnected', 'disconnected']);
    expect(world.dials).toHaveLength(1);
  });

  it('lets calls wait through the outage, however often it is tried in vain', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    const waiting = world.acquire(60_000);
    for (let attempt = 2; attempt < 12; attempt++) {
      await world.pass(1_000);
      expect(world.dials).toHaveLength(attempt);
      await world.dial.fail();
      expect(waiting.pending).toBe(true);
    }
    await world.pass(10_000);
    await world.dial.succeed();
    expect(waiting.value).toBe(world.connection.peer);
  });

  it('tells a call that has waited in vain why, as the cause', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    const waiting = world.acquire(500);
    await world.pass(50);
    await world.dial.fail();
    await world.pass(500);
    expect(waiting.error).toMatchObject({ code: LocalCode.CallTimeout, phase: 'connect', sent: 'no' });
    expect(waiting.error?.cause).toMatchObject({
      message: 'cannot connect to server:9000: connect ECONNREFUSED',
    });
  });

  it('keeps the process alive as long as somebody waits for it, not longer', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    expect(world.clock.held).toBe(0);
    const short = world.acquire(20);
    const long = world.acquire(60_000);
    expect(world.clock.held).toBe(1);
    for (let attempt = 2; attempt < 10; attempt++) {
      await world.pass(1_000);
      await world.dial.fail();
      expect(world.clock.held).toBe(1);
    }
    expect([short.pending, long.pending]).toEqual([false, true]);
    await world.pass(60_000);
    await world.dial.fail();
    expect([long.pending, world.clock.held]).toEqual([false, 0]);
  });

  it('keeps the process alive for calls that a server which shuts down did not get', async () => {
    const limits = { ...DEFAULT_LIMITS, maxInFlight: 1 };
    const first = await (fresh({ limits }), world.open());
    const [running, waiting] = [new RecordingSink(), new RecordingSink()];
    for (const sink of [running, waiting]) world.connection.peer?.call(requestOf(), sink);
    await world.settle();
    first.server?.drain(60_000);
    await world.settle();
    await world.pass(60);
    await world.dial.fail();
    expect([waiting.settled, world.clock.held]).toEqual([false, 1]);
    await world.pass(10_000);
    expect([waiting.settled, world.clock.held]).toEqual([true, 0]);
  });

  it('has one attempt at a time, for all who ask', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    const outcomes = Array.from({ length: 5 }, () => world.acquire());
    expect(world.dials).toHaveLength(1);
    await world.pass(50);
    outcomes.push(world.acquire());
    expect(world.dials).toHaveLength(2);
    await world.pass(1_000);
    expect(world.dials).toHaveLength(2);
    await world.dial.succeed();
    expect(outcomes.every(({ value }) => value === world.connection.peer)).toBe(true);
  });

  it('is tried at once by nobody: the delays have their jitter', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    expect(world.dials).toHaveLength(1);
  });

  it('keeps trying for an hour, and not faster than it should', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    let failed = 1;
    for (let second = 0; second < 3_600; second++) {
      await world.pass(1_000);
      for (; failed < world.dials.length; failed++) await (world.dials[failed] as Dial).fail();
    }
    // up to 10 s each, 5 s on average
    expect(world.dials.length).toBeGreaterThan(360);
    expect(world.dials.length).toBeLessThan(1_100);
  });

  it('comes back only with the next call if reconnecting is off', async () => {
    const first = await (fresh({ reconnect: undefined }), world.open());
    first.links.server.destroy();
    await world.settle();
    await world.pass(60_000);
    expect(world.dials).toHaveLength(1);
    expect(world.statuses).toEqual(['connecting', 'connected', 'disconnected']);
    const again = world.acquire();
    expect(world.dials).toHaveLength(2);
    await world.dial.fail();
    expect(again.error?.code).toBe(LocalCode.ConnectionLost);
  });

  it('fails its calls, and those say that they may have run', async () => {
    const first = await (fresh(), world.open());
    const sink = new RecordingSink();
    world.connection.peer?.call(requestOf(), sink);
    expect(world.connection.inFlight).toBe(1);
    await world.settle();
    first.links.server.destroy();
    await world.settle();
    expect(sink.fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'unknown' });
    expect(world.connection.inFlight).toBe(0);
  });

  it('is no place for a call that is made from the failure of another', async () => {
    const first = await (fresh(), world.open());
    const dead = world.connection.peer;
    let seen: ClientPeer | undefined = dead;
    dead?.call(requestOf(), {
      resolve: () => {},
      reject: () => (seen = world.connection.peer),
    });
    await world.settle();
    first.links.server.destroy();
    await world.settle();
    expect(seen?.state === 'closed').toBe(false);
  });
});
