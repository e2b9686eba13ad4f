import { LocalCode } from '../../lib/protocol/fault.js';
import type { ClientPeer } from '../../lib/rpc/client/client-peer.js';
import { RecordingSink, requestOf } from '../helpers/peer-pair.js';
import { fresh, world } from './connection-world.js';

/** A call on the peer that is open now. */
function call(timeoutMs = 10_000): RecordingSink {
  const sink = new RecordingSink();
  (world.connection.peer as ClientPeer).call(requestOf('x', { timeoutMs }), sink);
  return sink;
}

/** Bodies of the calls that came to a server. */
const servedBy = (index: number): unknown[] => world.dials[index]?.owner.calls.map(({ body }) => body) ?? [];

describe('a process that was frozen for minutes', () => {
  it('sends its first call when the server has answered a ping', async () => {
    const { links } = await (fresh(), world.open());
    world.clock.freeze(180_000);
    const sink = call();
    expect(links.toServer.frames.at(-1)?.[2]).toMatchObject({ target: '/_event/ping' });
    expect(world.connection.queued).toBe(1);
    await world.settle();
    expect([servedBy(0), world.connection.queued]).toEqual([['x'], 0]);
    world.dial.owner.call().reply('y');
    await world.settle();
    expect(sink.outcome).toBe('y');
  });

  it('sends it on a new connection if the server does not answer', async () => {
    const { links } = await (fresh(), world.open());
    links.toServer.lose();
    world.clock.freeze(180_000);
    const sink = call();
    await world.pass(240);
    expect(world.dials).toHaveLength(1);
    await world.pass(61);
    await world.pass(10);
    expect(world.dials).toHaveLength(2);
    await world.dial.succeed();
    await world.settle();
    expect([servedBy(0), servedBy(1), sink.settled]).toEqual([[], ['x'], false]);
  });

  it('sends it on a new connection if the server has closed this one meanwhile', async () => {
    const { server } = await (fresh(), world.open());
    world.clock.freeze(180_000);
    const sink = call();
    server?.close('recv pong timeout');
    await world.settle();
    expect(sink.settled).toBe(false);
    await world.pass(60);
    await world.dial.succeed();
    await world.settle();
    expect([servedBy(0), servedBy(1)]).toEqual([[], ['x']]);
  });

  it('opens no channel before that, either', async () => {
    const { links } = await (fresh(), world.open());
    links.toClient.hold();
    world.clock.freeze(180_000);
    const waiting = world.acquire();
    await world.settle();
    expect(waiting.pending).toBe(true);
    links.toClient.release();
    await world.settle();
    expect(waiting.value).toBe(world.connection.peer);
    expect(world.dials).toHaveLength(1);
  });

  it('keeps the time limit of what waits for the answer', async () => {
    const { links } = await (fresh(), world.open());
    links.toServer.lose();
    world.clock.freeze(180_000);
    const [sink, waiting] = [call(100), world.acquire(100)];
    await world.pass(100);
    expect(sink.fault).toMatchObject({ code: LocalCode.CallTimeout, sent: 'no' });
    expect(waiting.error).toMatchObject({ code: LocalCode.CallTimeout, sent: 'no' });
  });

  it.each(['close', 'drain'] as const)('settles what waits on %s', async (how) => {
    const { links } = await (fresh(), world.open());
    links.toServer.lose();
    world.clock.freeze(180_000);
    const [sink, waiting] = [call(60_000), world.acquire(60_000)];
    if (how === 'close') world.connection.close('enough');
    else void world.connection.drain();
    await world.pass(300);
    expect(sink.fault).toMatchObject({ code: LocalCode.ConnectionLost });
    expect(waiting.error).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
    expect(world.dials).toHaveLength(1);
  });

  it('lets what was in flight before wait for its answer', async () => {
    const { links } = await (fresh(), world.open());
    const before = call(600_000);
    await world.settle();
    links.toServer.hold();
    world.clock.freeze(180_000);
    call(600_000);
    await world.pass(300);
    expect(before.settled).toBe(false);
    world.dials[0]?.owner.call().reply('late');
    await world.settle();
    expect(before.outcome).toBe('late');
  });
});

describe('a server that is stopped with calls in flight', () => {
  it('fails them after 10 s: each may have run', async () => {
    const { links } = await (fresh(), world.open());
    const sinks = Array.from({ length: 50 }, () => call(45_000));
    await world.settle();
    links.toServer.lose();
    await world.pass(9_999);
    expect(sinks.every(({ settled }) => !settled)).toBe(true);
    await world.pass(1);
    for (const { fault } of sinks)
      expect(fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'unknown' });
  });

  it('settles within 12 s what is called meanwhile, too', async () => {
    const { links } = await (fresh(), world.open());
    const sinks: RecordingSink[] = [];
    links.toServer.lose();
    for (let i = 0; i < 100; i++) {
      sinks.push(call(45_000));
      await world.pass(100);
      if (!world.connection.peer) break;
    }
    await world.pass(2_000);
    expect(sinks.filter(({ settled }) => !settled)).toEqual([]);
  });
});
