import { Fault, LocalCode } from '../../lib/protocol/fault.js';
import { Status } from '../../lib/protocol/status.js';
import { fresh, world, type WorldOptions } from './fleet-world.js';

const ONE_FAILURE: WorldOptions = { eject: { consecutiveFailures: 1, baseMs: 1_000 } };

/** Ejects the server by a call that it does not answer. */
async function eject(address: string): Promise<void> {
  const server = world.server(address);
  server.freeze();
  await world.callTo(address, { timeoutMs: 20 });
  await world.pass(20, 10);
  server.calls.length = 0;
}

/** Where the calls went. */
async function asked(count: number): Promise<Set<unknown>> {
  const callers = Array.from({ length: count }, () => world.call());
  await world.settle();
  return new Set(callers.flatMap(({ outcomes }) => outcomes));
}

describe('a server that is ejected', () => {
  it('gets no calls until its probe, which is one call at a time', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    expect(world.state('a')).toBe('ejected');
    expect(await asked(9)).toEqual(new Set(['b', 'c']));
    await world.pass(1_000);
    const callers = Array.from({ length: 9 }, () => world.call());
    await world.settle();
    expect([world.server('a').calls.length, world.state('a')]).toEqual([1, 'ejected']);
    world.server('a').calls[0]?.reply('a');
    await world.settle();
    expect([world.state('a'), callers.every(({ settled }) => settled)]).toEqual(['ready', true]);
    world.server('a').answer();
    expect(await asked(9)).toEqual(new Set(['a', 'b', 'c']));
  });

  it('is ejected for longer if its probe fails', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    await world.pass(1_000);
    await world.callTo('a', { timeoutMs: 20 });
    await world.pass(20, 10);
    expect(world.state('a')).toBe('ejected');
    world.server('a').calls.length = 0;
    await world.pass(1_400);
    await asked(9);
    expect(world.server('a').calls).toHaveLength(0);
    await world.pass(600);
    world.server('a').answer();
    expect(await asked(9)).toContain('a');
    expect(world.state('a')).toBe('ready');
  });

  it('is probed again if the probe is cancelled', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    await world.pass(1_000);
    const probe = world.call();
    await world.settle();
    expect(world.server('a').calls).toHaveLength(1);
    probe.abandon();
    await world.settle();
    expect([world.state('a'), world.endpoint('a').isProbeDue]).toEqual(['ejected', true]);
    world.call();
    await world.settle();
    expect(world.server('a').calls).toHaveLength(2);
    world.server('a').calls[1]?.reply('a');
    await world.settle();
    expect(world.state('a')).toBe('ready');
  });

  it('returns as soon as its probe is a stream', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    await world.pass(1_000);
    world.server('a').serve = (call) => void call.turnIntoStream()?.write('first');
    world.call({ streams: true });
    await world.settle();
    expect([world.state('a'), world.endpoint('a').traffic.channels]).toEqual(['ready', 1]);
  });

  it('is probed by another call if the probe takes for ever', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    await world.pass(1_000);
    world.call({ timeoutMs: 3_600_000 });
    await world.settle();
    expect(world.server('a').calls).toHaveLength(1);
    await world.pass(9_000, 500);
    world.call();
    await world.settle();
    expect(world.server('a').calls).toHaveLength(1);
    await world.pass(1_000, 500);
    world.server('a').answer();
    expect(await asked(6)).toContain('a');
    expect(world.state('a')).toBe('ready');
  });

  it('gets nothing as its probe that says nothing about it', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    await world.pass(1_000);
    expect(world.endpoint('a').isProbeDue).toBe(true);
    for (let i = 0; i < 4; i += 1)
      expect(await world.fleet.acquire('ping', 1_000)).not.toBe(world.endpoint('a').peer);
    expect(world.endpoint('a').isProbeDue).toBe(true);
  });

  it('gets one channel as its probe, and returns when it has taken that', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    await world.pass(1_000);
    const probe = await world.place(1_000);
    const others = [await world.place(1_000), await world.place(1_000)];
    expect([probe.where, others.map(({ where }) => where).includes('a')]).toEqual(['a', false]);
    probe.taken?.();
    expect(world.state('a')).toBe('ready');
    probe.ended();
    for (const other of others) other.ended();
  });

  it('is probed again if the channel was left before it was taken', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    await world.pass(1_000);
    const probe = await world.place(1_000);
    probe.ended();
    expect([world.state('a'), world.endpoint('a').isProbeDue]).toEqual(['ejected', true]);
    const again = await world.place(1_000);
    again.ended(new Fault({ status: Status.Server, message: 'lost', sent: 'unknown' }));
    expect([again.where, world.state('a'), world.endpoint('a').isProbeDue]).toEqual(['a', 'ejected', false]);
  });

  it.each([false, true])(
    'is probed again if a session ends without a call; exclusive: %j',
    async (exclusive) => {
      await (fresh(ONE_FAILURE), world.open());
      await eject('a');
      await world.pass(1_000);
      const leasing = world.fleet.lease('openSession', 1_000, exclusive);
      await world.settle();
      expect(world.endpoint('a').isProbeDue).toBe(false);
      (await leasing).release();
      await world.settle();
      expect([world.state('a'), world.endpoint('a').isProbeDue]).toEqual(['ejected', true]);
    },
  );

  it('is probed again if a connection of its own cannot be opened', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    await world.pass(1_000);
    world.server('a').door = 'closed';
    const leasing = world.fleet.lease('withConnection', 1_000, true);
    await world.settle();
    const lease = await leasing;
    expect(lease.peer.where).not.toBe('a');
    lease.release();
    expect([world.state('a'), world.endpoint('a').isProbeDue]).toEqual(['ejected', true]);
  });

  it('returns when it has taken a channel of a session', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    await world.pass(1_000);
    const lease = await world.fleet.lease('openSession', 1_000, false);
    const request = { target: '/default/c', header: {}, body: undefined, held: undefined };
    const placed = await lease.balanced?.place({ ...request, timeoutMs: 1_000, idempotent: false });
    placed?.taken?.();
    expect([placed?.where, world.state('a')]).toEqual(['a', 'ready']);
    placed?.ended();
    lease.release();
  });

  it('is told of by a call of a session, and not again by the end of that', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    await world.pass(1_000);
    const lease = await world.fleet.lease('openSession', 1_000, false);
    const call = world.call({}, lease.balanced);
    await world.settle();
    world.server('a').calls[0]?.reply('well');
    await world.settle();
    expect([call.outcome, world.state('a')]).toEqual(['well', 'ready']);
    await eject('a');
    await world.pass(2_000);
    world.call();
    await world.settle();
    lease.release();
    expect([world.server('a').calls.length, world.endpoint('a').isProbeDue]).toEqual([1, false]);
  });

  it('stays ejected if it loses its connection and reconnects meanwhile', async () => {
    await (fresh({ eject: { consecutiveFailures: 1, baseMs: 30_000 } }), world.open());
    await eject('a');
    world.server('a').last.reset();
    await world.settle();
    expect(world.state('a')).toBe('backingOff');
    await world.pass(5_000);
    expect([world.state('a'), world.server('a').dials.length]).toEqual(['ejected', 2]);
    world.server('a').answer();
    expect(await asked(9)).toEqual(new Set(['b', 'c']));
    await world.pass(30_000, 500);
    expect(await asked(9)).toContain('a');
  });

  it('is probed on its new connection if the probe was lost with the old one', async () => {
    await (fresh(ONE_FAILURE), world.open());
    await eject('a');
    await world.pass(1_000);
    const probe = world.call();
    await world.settle();
    world.server('a').last.reset();
    await world.pass(6_000);
    expect(probe.fault.sent).toBe('unknown');
    expect([world.state('a'), world.endpoint('a').isProbeDue]).toEqual(['ejected', true]);
  });

  it('may be suspect, or disconnected, or draining when its calls fail', async () => {
    for (const how of ['suspect', 'lost', 'draining'] as const) {
      await (fresh({ eject: { consecutiveFailures: 1, baseMs: 20_000 } }), world.open());
      world.server('a').freeze();
      await world.callTo('a', { timeoutMs: 3_000 });
      if (how === 'suspect') world.server('a').last.links.toServer.hold();
      if (how === 'draining') world.server('a').drain(60_000);
      if (how === 'lost') world.server('a').last.reset();
      await world.pass(2_500);
      if (how === 'suspect') expect(world.state('a')).toBe('suspect');
      await world.pass(5_000);
      world.server('a').last.links.toServer.release();
      await world.settle();
      world.server('a').answer();
      expect([how, world.state('a')]).toEqual([how, 'ejected']);
      expect(await asked(9)).toEqual(new Set(['b', 'c']));
      await world.end();
    }
  });
});

describe('below half healthy', () => {
  it('all that are open are used, ejected ones too, but none that is closed or drains', async () => {
    await (fresh({
      servers: ['a', 'b', 'c', 'd'],
      ...ONE_FAILURE,
      eject: { consecutiveFailures: 1, baseMs: 60_000 },
    }),
    world.open());
    await eject('a');
    await eject('b');
    world.server('a').answer();
    world.server('b').answer();
    expect(await asked(12)).toEqual(new Set(['c', 'd']));
    world.server('d').freeze();
    const busy = await world.callTo('d');
    world.server('d').drain();
    await world.settle();
    expect(world.state('d')).toBe('draining');
    // c of a, b, c
    expect(await asked(12)).toEqual(new Set(['a', 'b', 'c']));
    world.server('c').die();
    await world.settle();
    expect(await asked(12)).toEqual(new Set(['a', 'b']));
    world.server('d').calls.at(-1)?.reply('d');
    await world.settle();
    expect(busy.outcome).toBe('d');
  });
});

describe('verdicts while this process stood still', () => {
  it('are dropped: calls that are late then eject no server', async () => {
    await (fresh({ eject: { consecutiveFailures: 1 } }), world.open());
    for (const server of world.servers.values()) server.freeze();
    const callers = Array.from({ length: 9 }, () => world.call({ timeoutMs: 1_000 }));
    await world.settle();
    world.clock.stall(60_000);
    // the queue of the deadlines polls the sockets first
    for (let i = 0; i < 20 && callers.some(({ settled }) => !settled); i += 1)
      await new Promise((resolve) => setImmediate(resolve));
    expect(callers.every(({ fault }) => fault.code === LocalCode.CallTimeout)).toBe(true);
    expect(world.changes.filter(({ state }) => state === 'ejected')).toEqual([]);
    expect(world.endpoints.every(({ traffic }) => traffic.failures === 0)).toBe(true);
  });

  it('are dropped for connections that the servers have closed meanwhile, before any timer', async () => {
    await (fresh({ eject: { consecutiveFailures: 1 } }), world.open());
    for (const server of world.servers.values()) server.freeze();
    const callers = Array.from({ length: 9 }, () => world.call());
    await world.settle();
    world.clock.freeze(60_000);
    for (const { last } of world.servers.values()) last.reset();
    await world.settle();
    expect(callers.every(({ fault }) => fault.code === LocalCode.ConnectionLost)).toBe(true);
    await world.pass(5_000);
    expect([...world.servers.keys()].map((each) => world.state(each))).toEqual(['ready', 'ready', 'ready']);
  });

  it('count again for the calls that come after', async () => {
    await (fresh({ eject: { consecutiveFailures: 1 } }), world.open());
    await world.callTo('a');
    world.clock.stall(60_000);
    await world.pass(500);
    await eject('a');
    expect(world.state('a')).toBe('ejected');
  });

  it('an error that a server has answered counts all the same', async () => {
    await (fresh({ eject: { consecutiveFailures: 1, minCalls: 5 } }), world.open());
    world.server('a').freeze();
    const caller = await world.callTo('a');
    world.clock.freeze(60_000);
    const { failures } = world.endpoint('a').traffic;
    world.server('a').fail({ status: 500, message: 'broken' });
    const [call] = world.server('a').calls;
    if (call) world.server('a').serve?.(call);
    await world.settle();
    expect(caller.fault.status).toBe(500);
    expect(world.endpoint('a').traffic.failures).toBe(failures + 1);
  });

  it('let channels wait for the proof that a server lives', async () => {
    await (fresh(), world.open());
    for (const { last } of world.servers.values()) last.links.toClient.hold();
    world.clock.freeze(180_000);
    let placed: unknown;
    void world.place(5_000).then((it) => (placed = it));
    await world.settle();
    expect(placed).toBeUndefined();
    for (const { last } of world.servers.values()) last.links.toClient.release();
    await world.settle();
    expect(placed).toBeDefined();
    (placed as { ended(): void }).ended();
  });
});
