import type { Channel } from '../../lib/rpc/channel/channel.js';
import { LocalCode } from '../../lib/protocol/fault.js';
import { DRAINING_CODE, Status } from '../../lib/protocol/status.js';
import { fresh, world } from './fleet-world.js';

const REFUSED = { status: Status.TooManyRequests, code: DRAINING_CODE, message: 'it drains', refused: true };
const BROKEN = { status: Status.Server, message: 'broken' };

/** Frames of calls that all servers got. */
const sentCalls = (): number => [...world.servers.values()].reduce((sum, { calls }) => sum + calls.length, 0);
const cancels = (): number => [...world.servers.values()].reduce((sum, server) => sum + server.cancels, 0);

describe('what was never sent', () => {
  it('moves if the connection takes no more bytes', async () => {
    await fresh({ limits: { sendBufferHardBytes: 1_000 } }).open();
    world.server('a').last.links.toServer.hold();
    const big = await stuckAt('a', 'x'.repeat(2_000));
    const callers = Array.from({ length: 12 }, () => world.call());
    await world.settle();
    expect(callers.map(({ outcome }) => outcome)).not.toContain('a');
    world.server('a').last.links.toServer.release();
    await world.settle();
    expect(big.outcome).toBe('a');
  });

  it('moves if it waits for a slot of a connection that shuts down, or is lost', async () => {
    for (const end of ['drain', 'die'] as const) {
      await fresh({ limits: { maxInFlight: 1 } }).open();
      world.server('a').freeze();
      const first = await world.callTo('a');
      const queued = Array.from({ length: 3 }, () => world.call());
      expect(world.fleet.counts().queued).toBe(1);
      world.server('a')[end]();
      await world.settle();
      expect(queued.map(({ outcome }) => outcome)).not.toContain('a');
      if (end === 'die')
        expect(first.fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'unknown' });
      else expect(first.settled).toBe(false);
      world.server('a').calls[0]?.reply('a');
      await world.end();
    }
  });

  it('picks again if the server says shutdown while the call is on its way', async () => {
    await fresh().open();
    world.server('a').freeze();
    const busy = await world.callTo('a');
    world.server('a').drain();
    const callers = Array.from({ length: 6 }, () => world.call());
    await world.settle();
    // a server that drains still takes what was sent before its client knew
    for (const call of world.server('a').calls) call.reply('a');
    await world.settle();
    expect([busy, ...callers].every(({ outcome }) => typeof outcome === 'string')).toBe(true);
    const later = Array.from({ length: 6 }, () => world.call());
    await world.settle();
    expect(later.map(({ outcome }) => outcome)).not.toContain('a');
  });

  it('is sent as it was when the call was made, on each attempt', async () => {
    await fresh({ servers: ['a', 'b'] }).open();
    for (const server of world.servers.values()) server.fail(BROKEN);
    const body = { n: 1 };
    const caller = world.call({ body, idempotent: true });
    body.n = 2;
    await world.pass(100);
    expect(caller.fault.status).toBe(Status.Server);
    expect(sentCalls()).toBe(3);
    for (const { bodies } of world.servers.values())
      for (const each of bodies) expect(each).toEqual({ n: 1 });
  });

  it('fails alone if its body cannot be encoded', async () => {
    await fresh().open();
    const bad = world.call({ body: 'x'.repeat(5_000_000), idempotent: true });
    const good = world.call();
    await world.settle();
    expect(bad.fault.code).toBe('ERR_RAP_FRAME_TOO_LARGE');
    expect(good.outcome).toMatch(/[abc]/);
    expect(world.endpoints.every(({ traffic }) => traffic.failures === 0)).toBe(true);
  });

  async function stuckAt(address: string, body: string) {
    const { links } = world.server(address).last;
    for (let i = 0; i < 3; i += 1) {
      const caller = world.call({ body });
      if (links.toServer.bytes > 0) return caller;
    }
    throw new Error('none went there');
  }
});

describe('what was refused', () => {
  it('moves to another server, each once', async () => {
    await fresh().open();
    for (const server of world.servers.values()) server.fail(REFUSED);
    world.server('c').answer();
    const callers = Array.from({ length: 6 }, () => world.call());
    await world.settle();
    expect(callers.map(({ outcome }) => outcome)).toEqual(Array.from({ length: 6 }, () => 'c'));
    expect(world.server('a').calls.length).toBeLessThanOrEqual(6);
  });

  it('moves only as far as the budget goes', async () => {
    await fresh({ retry: { budget: { ratio: 0, perSecond: 0.2 } } }).open();
    for (const server of world.servers.values()) server.fail(REFUSED);
    const callers = Array.from({ length: 5 }, () => world.call());
    await world.pass(200);
    expect(callers.every(({ fault }) => fault.sent === 'no')).toBe(true);
    expect(sentCalls()).toBe(7); // 2 in 10 s
  });

  it('fails if all refuse, and says what was tried', async () => {
    await fresh().open();
    for (const server of world.servers.values()) server.fail(REFUSED);
    const caller = world.call();
    await world.pass(200);
    const { fault } = caller;
    expect(fault).toMatchObject({ status: Status.TooManyRequests, sent: 'no' });
    expect(fault.message).toMatch(/4 attempts: [abc] after \d+ ms: ERR_RAP_DRAINING;/);
    expect(new Set(fault.attempts?.slice(0, 3).map(({ server }) => server))).toEqual(
      new Set(['a', 'b', 'c']),
    );
  });

  it('is not repeated if the server asks for that', async () => {
    await fresh().open();
    for (const server of world.servers.values()) server.fail({ ...REFUSED, retry: false });
    const caller = world.call({ idempotent: true });
    await world.pass(200);
    expect([caller.fault.retry, sentCalls()]).toEqual([false, 1]);
  });
});

describe('what may have run', () => {
  it('is repeated only if it is idempotent', async () => {
    await fresh().open();
    for (const server of world.servers.values()) server.freeze();
    const [once, again] = [world.call(), world.call({ idempotent: true })];
    await world.settle();
    world.server('c').answer();
    for (const address of ['a', 'b']) world.server(address).die();
    await world.settle();
    expect([once, again].map(({ outcomes }) => outcomes.length)).toEqual([1, 1]);
    expect(once.fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'unknown' });
    expect(again.outcome).toBe('c');
  });

  it('has three attempts at most, on different servers', async () => {
    await fresh({ servers: ['a', 'b', 'c', 'd'] }).open();
    for (const server of world.servers.values()) server.fail(BROKEN);
    const caller = world.call({ idempotent: true });
    await world.pass(200);
    const tried = caller.fault.attempts?.map(({ server }) => server) ?? [];
    expect([tried.length, new Set(tried).size, sentCalls()]).toEqual([3, 3, 3]);
  });

  it('does not say that it was not sent, whatever its last attempt met', async () => {
    await fresh({ servers: ['a', 'b'] }).open();
    world.server('a').freeze();
    const caller = await world.callTo('a', { idempotent: true, timeoutMs: 3_000 });
    world.server('b').fail({ ...REFUSED, retry: false });
    world.server('a').die();
    await world.pass(500);
    expect(caller.fault).toMatchObject({ status: Status.TooManyRequests, sent: 'unknown' });
  });

  it('does not say so if its time is over while it waits, either', async () => {
    await fresh({ servers: ['a'] }).open();
    world.server('a').freeze();
    const caller = await world.callTo('a', { idempotent: true, timeoutMs: 1_000 });
    world.server('a').die();
    await world.settle();
    await world.pass(1_001);
    const { fault } = caller;
    expect(fault).toMatchObject({ code: LocalCode.CallTimeout, phase: 'connect', sent: 'unknown' });
    expect(fault.message).toContain('1 attempt: a after 0 ms: ERR_RAP_CONNECTION_LOST');
    expect(fault.attempts).toHaveLength(1);
    expect(fault.cause).toMatchObject({ code: LocalCode.ConnectionLost });
  });

  it('does not say so if too many calls wait, or the client is closed', async () => {
    for (const how of ['crowd', 'close']) {
      await fresh({ servers: ['a'], limits: { maxQueuedCalls: 1 } }).open();
      world.server('a').freeze();
      const caller = await world.callTo('a', { idempotent: true });
      if (how === 'crowd') {
        world.server('a').die();
        await world.pass(5, 1);
        world.call();
        await world.pass(1_000);
        expect(world.callers.map(({ settled }) => settled)).toContain(true);
        world.fleet.close('the end');
      } else {
        world.server('a').die();
        world.fleet.close('the end');
      }
      await world.settle();
      expect([how, caller.fault.sent]).toEqual([how, 'unknown']);
      await world.end();
    }
  });
});

describe('the time limit', () => {
  it('holds over all attempts', async () => {
    await fresh({ servers: ['a', 'b', 'c'], eject: false }).open();
    for (const server of world.servers.values()) server.freeze();
    const caller = world.call({ idempotent: true, timeoutMs: 1_000 });
    await world.settle();
    await world.pass(600);
    [...world.servers.values()].find(({ calls }) => calls.length > 0)?.last.reset();
    await world.settle();
    expect(sentCalls()).toBe(2);
    await world.pass(399, 399);
    expect(caller.settled).toBe(false);
    await world.pass(1);
    const { fault } = caller;
    expect(fault).toMatchObject({ code: LocalCode.CallTimeout, phase: 'response', sent: 'unknown' });
    expect(fault.message).toMatch(
      /^\/default\/x timed out after 1000 ms, waiting for the answer of [abc] \(2 attempts: /,
    );
    expect(fault.attempts?.map(({ code }) => code)).toEqual([
      'ERR_RAP_CONNECTION_LOST',
      'ERR_RAP_CALL_TIMEOUT',
    ]);
    await world.pass(5_000);
    expect([sentCalls(), cancels()]).toEqual([2, 1]);
  });

  it('has one attempt with a single server, which is named', async () => {
    await fresh({ servers: ['a'] }).open();
    world.server('a').freeze();
    const caller = world.call({ timeoutMs: 100 });
    await world.pass(100);
    expect(caller.fault.message).toBe('/default/x timed out after 100 ms, waiting for the answer of a');
    expect(caller.fault.attempts).toBeUndefined();
  });
});

describe('a call that is cancelled', () => {
  it('while it waits is never sent', async () => {
    fresh({ servers: false });
    const caller = world.call();
    caller.abandon();
    caller.abandon();
    world.server('a').answer();
    world.resolver.list('a');
    await world.settle();
    expect([caller.settled, sentCalls(), caller.started.wasSent]).toEqual([false, 0, false]);
  });

  it('in flight tells its server once', async () => {
    await fresh().open();
    for (const server of world.servers.values()) server.freeze();
    const caller = world.call();
    await world.settle();
    expect(caller.started.wasSent).toBe(true);
    caller.abandon();
    caller.abandon();
    await world.settle();
    const asked = [...world.servers.values()].find(({ calls }) => calls.length > 0);
    expect([asked?.cancels, cancels(), caller.settled]).toEqual([1, 1, false]);
    expect(world.endpoints.every(({ traffic }) => traffic.inFlight === 0)).toBe(true);
  });

  it('before its next attempt is not sent again', async () => {
    await fresh({ servers: ['a'], retry: { baseDelayMs: 1_000 } }).open();
    world.server('a').fail(BROKEN);
    const caller = world.call({ idempotent: true });
    await world.settle();
    caller.abandon();
    await world.pass(3_000);
    expect([caller.settled, sentCalls(), cancels(), world.clock.held]).toEqual([false, 1, 0, 0]);
  });

  it('on its second attempt tells the second server', async () => {
    await fresh({ servers: ['a', 'b'] }).open();
    for (const server of world.servers.values()) server.freeze();
    const caller = await world.callTo('a', { idempotent: true });
    world.server('a').die();
    await world.settle();
    caller.abandon();
    await world.settle();
    expect([world.server('a').cancels, world.server('b').cancels, world.server('b').calls.length]).toEqual([
      0, 1, 1,
    ]);
  });

  it('by the failure of another that moves in the same turn leaves nothing in flight', async () => {
    await fresh({ servers: ['a', 'b'] }).open();
    for (const server of world.servers.values()) server.freeze();
    const first = await world.callTo('a');
    const second = await world.callTo('a', { idempotent: true });
    first.onSettled = (): void => second.abandon();
    const { bodies, cancels: before } = world.server('b');
    world.server('a').die();
    await world.settle();
    expect([first.outcomes.length, second.outcomes.length]).toEqual([1, 0]);
    expect([world.server('b').bodies, cancels()]).toEqual([bodies, before]);
  });
});

describe('events', () => {
  it('go to one server, and are confirmed', async () => {
    await fresh().open();
    const callers = Array.from({ length: 6 }, () => world.emit());
    await world.settle();
    expect(callers.map(({ outcomes }) => outcomes.length)).toEqual([1, 1, 1, 1, 1, 1]);
    expect(sentCalls()).toBe(6);
  });

  it('move from a connection that is lost before they were sent', async () => {
    await fresh({ servers: ['a', 'b'], limits: { maxInFlight: 1 } }).open();
    world.server('a').freeze();
    await world.callTo('a');
    const callers = [world.emit(), world.emit()];
    expect(world.fleet.counts().queued).toBe(1);
    world.server('a').die();
    await world.settle();
    expect(callers.map(({ outcomes }) => outcomes)).toEqual([[undefined], [undefined]]);
  });

  it('wait for a server', async () => {
    fresh({ servers: false });
    const [sent, cancelled] = [world.emit(), world.emit()];
    cancelled.abandon();
    world.server('a').answer();
    world.resolver.list('a');
    await world.settle();
    expect([sent.outcomes.length, cancelled.outcomes.length, sentCalls()]).toEqual([1, 0, 1]);
  });
});

describe('streams', () => {
  it('count as open channel until they end', async () => {
    await fresh({ servers: ['a'] }).open();
    world.server('a').serve = (call) => void call.turnIntoStream()?.write('first');
    const caller = world.call({ streams: true });
    await world.settle();
    const { traffic } = world.endpoint('a');
    expect([traffic.inFlight, traffic.channels, traffic.failures, traffic.hasHistory]).toEqual([
      1,
      1,
      0,
      true,
    ]);
    world.server('a').calls[0]?.stream?.close();
    for (const _ of [1, 2]) (caller.outcome as Channel).close();
    await world.settle();
    expect([traffic.inFlight, traffic.channels]).toEqual([0, 0]);
  });

  it('are not repeated once they have begun', async () => {
    await fresh({ servers: ['a', 'b'] }).open();
    for (const server of world.servers.values())
      server.serve = (call) => void call.turnIntoStream()?.write('first');
    const caller = world.call({ streams: true, idempotent: true });
    await world.settle();
    for (const { last } of world.servers.values()) last.reset();
    await world.pass(100);
    expect([sentCalls(), caller.outcomes.length]).toEqual([1, 1]);
    expect((caller.outcome as Channel).fault).toMatchObject({ code: LocalCode.ConnectionLost });
  });
});
