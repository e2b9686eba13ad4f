import { LocalCode } from '../../lib/protocol/fault.js';
import { fresh, world } from './fleet-world.js';

const LOST = LocalCode.ConnectionLost;

describe('the list', () => {
  it('spreads calls over its servers', async () => {
    await fresh().open();
    const callers = Array.from({ length: 30 }, () => world.call());
    await world.settle();
    expect(callers.map(({ outcome }) => outcome).toSorted()).toEqual(
      ['a', 'b', 'c'].flatMap((name) => Array.from({ length: 10 }, () => name)),
    );
  });

  it('counts a server that is listed twice once', async () => {
    await fresh({ servers: ['a', 'a', 'b'] }).open();
    expect([...world.fleet.counts().endpoints].map(({ address }) => address)).toEqual(['a', 'b']);
    world.resolver.list('b', 'b', 'b');
    await world.settle();
    expect([...world.fleet.counts().endpoints].map(({ address }) => address)).toEqual(['b']);
  });

  it('lets calls at a server that is no longer listed end, and closes its connection then', async () => {
    await fresh().open();
    world.server('a').freeze();
    const caller = await world.callTo('a');
    world.resolver.list('b', 'c');
    await world.settle();
    expect([world.state('a'), world.endpoint('a').pool.size, caller.settled]).toEqual(['gone', 1, false]);
    expect(world.fleet.counts()).toMatchObject({
      inFlight: 1,
      endpoints: [{ address: 'b' }, { address: 'c' }],
    });
    const others = Array.from({ length: 9 }, () => world.call());
    await world.settle();
    expect(others.some(({ outcome }) => outcome === 'a')).toBe(false);
    world.server('a').calls[0]?.reply('late');
    await world.settle();
    expect([caller.outcome, world.endpoint('a').pool.size]).toEqual(['late', 0]);
  });

  it('makes a new endpoint of a server that comes back while the old one still ends its calls', async () => {
    await fresh().open();
    world.server('a').freeze();
    const caller = await world.callTo('a');
    const old = world.endpoint('a');
    world.resolver.list('b', 'c');
    world.resolver.list('a', 'b', 'c');
    await world.settle();
    expect(world.endpoint('a')).not.toBe(old);
    expect([old.state, world.state('a'), world.server('a').dials.length]).toEqual(['gone', 'ready', 2]);
    world.server('a').calls[0]?.reply('late');
    await world.settle();
    expect([caller.outcome, old.pool.size, world.endpoint('a').pool.size]).toEqual(['late', 0, 1]);
  });

  it('may change its weights, from then on', async () => {
    await fresh({ servers: ['a', 'b'], balancer: 'weighted' }).open();
    world.resolver.list({ host: 'a', weight: 3 }, { host: 'b', weight: 1 });
    const callers = Array.from({ length: 40 }, () => world.call());
    await world.settle();
    expect(callers.filter(({ outcome }) => outcome === 'a').length).toBeGreaterThanOrEqual(29);
    world.resolver.list({ host: 'a', weight: 0 }, { host: 'b', weight: Number.NaN });
    const more = Array.from({ length: 20 }, () => world.call());
    await world.settle();
    expect(more.every(({ outcome }) => outcome === 'b')).toBe(true);
    expect(world.endpoints).toHaveLength(2);
  });

  it('returns no ejected server since all others are replaced', async () => {
    await fresh({ servers: ['a', 'b', 'c', 'd'], eject: { consecutiveFailures: 1, maxRatio: 0.5 } }).open();
    for (const address of ['a', 'b']) {
      world.server(address).freeze();
      await world.callTo(address, { timeoutMs: 100 });
      await world.pass(100);
    }
    expect([world.state('a'), world.state('b')]).toEqual(['ejected', 'ejected']);
    world.resolver.list('a', 'b', 'e', 'f');
    await world.settle();
    expect([world.state('a'), world.state('b'), world.state('e')]).toEqual(['ejected', 'ejected', 'ready']);
  });

  it('may come inside of watch, or later, or never', async () => {
    fresh({ servers: false });
    const first = world.call({ timeoutMs: 500 });
    const second = world.call();
    await world.pass(500);
    expect(first.fault).toMatchObject({ code: LocalCode.CallTimeout, phase: 'connect', sent: 'no' });
    world.server('a').answer();
    world.resolver.list('a');
    await world.settle();
    expect(second.outcome).toBe('a');
  });

  it('is ignored after the end', async () => {
    await fresh().open();
    world.fleet.close('enough');
    world.resolver.list('d');
    world.resolver.fail('no');
    await world.settle();
    expect([world.servers.has('d'), world.resolverErrors]).toEqual([false, []]);
  });
});

describe('a list without servers', () => {
  it('fails the calls at once before the first connection', async () => {
    fresh({ servers: false });
    const caller = world.call();
    world.resolver.list();
    expect(caller.fault).toMatchObject({ code: LOST, sent: 'no', message: 'the fleet has no servers' });
    // and those that come later
    expect(world.call().fault).toMatchObject({ code: LOST, sent: 'no' });
    await expect(world.fleet.acquire('x', 1_000)).rejects.toMatchObject({ code: LOST });
  });

  it('does so if it comes inside of watch', () => {
    fresh({ servers: [] });
    expect(world.call().fault).toMatchObject({ code: LOST, sent: 'no' });
  });

  it('lets calls wait after it', async () => {
    await fresh({ servers: ['a'] }).open();
    world.resolver.list();
    const caller = world.call();
    await world.pass(1_000);
    expect(caller.settled).toBe(false);
    world.resolver.list('a');
    await world.settle();
    expect(caller.outcome).toBe('a');
  });
});

describe('a resolver that fails', () => {
  it('fails waiting calls while nothing is known', () => {
    fresh({ servers: false });
    const caller = world.call();
    world.resolver.fail('NXDOMAIN');
    expect(caller.fault).toMatchObject({
      code: LOST,
      sent: 'no',
      message: 'cannot find the servers of the fleet: NXDOMAIN',
    });
  });

  it('does so inside of watch', () => {
    fresh({ servers: false });
    world.resolver.atOnce = (_list, fail): void => fail(new Error('NXDOMAIN'));
    expect(world.call().fault).toMatchObject({ code: LOST, sent: 'no' });
  });

  it('changes nothing after a list', async () => {
    await fresh({ servers: ['a'] }).open();
    world.resolver.fail('SERVFAIL');
    const caller = world.call();
    await world.settle();
    expect([caller.outcome, world.resolverErrors]).toEqual(['a', ['SERVFAIL']]);
  });

  it('may throw, and is asked again with the next call', async () => {
    fresh({ servers: false });
    world.resolver.atOnce = (): void => {
      throw new Error('broken');
    };
    expect(world.call().fault).toMatchObject({
      code: LOST,
      message: expect.stringContaining('broken') as string,
    });
    world.resolver.unwatched += 1; // it returned nothing to stop
    world.resolver.atOnce = (list): void => list([{ host: 'a' }]);
    world.server('a').answer();
    const caller = world.call();
    await world.settle();
    expect(caller.outcome).toBe('a');
  });
});

describe('calls that wait', () => {
  it('fail at once if every server has failed before the first connection', async () => {
    fresh({ servers: ['a', 'b'] });
    world.server('a').door = 'closed';
    world.server('b').door = 'silent';
    const caller = world.call();
    await world.settle();
    expect(caller.settled).toBe(false);
    world.server('b').last.refuse();
    await world.settle();
    expect(caller.fault).toMatchObject({ code: LOST, sent: 'no' });
    expect(caller.fault.message).toMatch(
      /none of the 2 servers of the fleet can be reached; the last: cannot connect/,
    );
  });

  it('wait through an outage after that, as long as they may', async () => {
    await fresh().open();
    for (const server of world.servers.values()) server.die();
    await world.settle();
    const [short, long] = [world.call({ timeoutMs: 2_000 }), world.call()];
    await world.pass(2_000);
    expect(short.fault).toMatchObject({ code: LocalCode.CallTimeout, phase: 'connect', sent: 'no' });
    world.server('b').door = 'open';
    await world.pass(3_000);
    expect(long.outcome).toBe('b');
  });

  it('keep the process alive, and only they', async () => {
    fresh({ servers: false });
    world.fleet.start();
    expect(world.clock.held).toBe(0);
    const callers = [world.call(), world.call()];
    expect(world.clock.held).toBe(1);
    callers[0]?.abandon();
    expect(world.clock.held).toBe(1);
    callers[1]?.abandon();
    expect(world.clock.held).toBe(0);
    world.server('a').answer();
    world.call();
    world.resolver.list('a');
    await world.settle();
    expect(world.clock.held).toBe(0);
  });

  it('are limited in number', () => {
    fresh({ servers: false, limits: { maxQueuedCalls: 2 } });
    const callers = [world.call(), world.call(), world.call()];
    expect(callers.map(({ settled }) => settled)).toEqual([false, false, true]);
    expect(callers[2]?.fault).toMatchObject({ code: LocalCode.Overload, sent: 'no' });
    callers[0]?.abandon();
    expect(world.call().settled).toBe(false);
  });

  it('are limited in bytes', async () => {
    fresh({ servers: false, limits: { maxQueuedBytes: 1_000 } });
    const first = world.call({ body: 'x'.repeat(1_001) });
    const second = world.call();
    expect([first.settled, second.settled]).toEqual([false, true]);
    await expect(world.fleet.acquire('y', 1_000)).rejects.toMatchObject({ code: LocalCode.Overload });
    first.abandon();
    expect(world.call().settled).toBe(false);
  });

  it('may end each other while they are started, or fail', async () => {
    fresh({ servers: false });
    const [first, second] = [world.call(), world.call()];
    first.onSettled = (): void => second.abandon();
    world.resolver.list();
    expect([first.outcomes.length, second.outcomes.length]).toEqual([1, 0]);
    world.fleet.close('again');
    world.resolver.atOnce = undefined;
    // its body cannot be encoded, so that it fails as it is sent
    const [third, fourth] = [world.call({ body: 'x'.repeat(5_000_000) }), world.call({ body: 'y' })];
    third.onSettled = (): void => fourth.abandon();
    world.resolver.list('a');
    await world.settle();
    expect([third.outcomes.length, fourth.outcomes.length]).toEqual([1, 0]);
    expect(world.server('a').bodies).toEqual([]);
  });
});

describe('close', () => {
  it('fails what waits, what is in flight, and what would be repeated', async () => {
    await fresh({ servers: ['a'], retry: { baseDelayMs: 1_000 } }).open();
    world.server('a').freeze();
    const inFlight = world.call();
    const repeatable = world.call({ idempotent: true });
    await world.settle();
    world.server('a').fail({ status: 503, message: 'no' });
    world.server('a').calls.length = 0;
    world.server('a').fail({ status: 500, message: 'broken' });
    const inBackoff = world.call({ idempotent: true });
    await world.settle();
    expect([inBackoff.settled, world.fleet.counts().queued]).toEqual([false, 1]);
    world.fleet.close('enough');
    await world.settle();
    expect(inFlight.fault).toMatchObject({ code: LOST, sent: 'unknown' });
    expect(repeatable.fault).toMatchObject({ code: LOST, sent: 'unknown' });
    expect(inBackoff.fault.sent).not.toBe('no');
    expect([world.clock.held, world.state('a')]).toEqual([0, 'idle']);
    expect(world.statuses).toEqual(['connecting', 'connected', 'disconnected']);
  });

  it('lets the next call start again', async () => {
    await fresh().open();
    world.fleet.close('enough');
    world.fleet.close('enough');
    const caller = world.call();
    await world.settle();
    expect(caller.outcome).toMatch(/[abc]/);
    expect(world.resolver.watches).toBe(2);
  });

  it('may come from a listener, at each moment', async () => {
    for (const status of ['connecting', 'connected', 'disconnected']) {
      fresh();
      world.onStatus = (now): void => {
        if (now !== status) return;
        world.onStatus = undefined;
        world.fleet.close('a listener');
      };
      const caller = world.call();
      await world.settle();
      if (status === 'disconnected') world.fleet.close('the test');
      await world.settle();
      expect([status, caller.outcomes.length]).toEqual([status, 1]);
      await world.end();
    }
  });

  it('may come from inside of watch', async () => {
    fresh({ servers: false });
    world.resolver.atOnce = (): void => world.fleet.close('inside');
    const caller = world.call();
    await world.settle();
    expect(caller.fault).toMatchObject({ code: LOST, sent: 'no' });
    expect(world.resolver.unwatched).toBe(1);
  });
});

describe('drain', () => {
  /** Whether the promise has resolved. */
  function watched(promise: Promise<void>): { isDone: boolean } {
    const state = { isDone: false };
    void promise.then(() => (state.isDone = true));
    return state;
  }

  it('lets calls end, and then resolves; twice, too', async () => {
    await fresh().open();
    for (const server of world.servers.values()) server.freeze();
    const callers = [world.call(), world.call()];
    await world.settle();
    const [first, second] = [watched(world.fleet.drain()), watched(world.fleet.drain())];
    await world.settle();
    expect([first.isDone, second.isDone]).toEqual([false, false]);
    for (const server of world.servers.values()) for (const call of server.calls) call.reply('y');
    await world.settle();
    expect(callers.map(({ outcome }) => outcome)).toEqual(['y', 'y']);
    expect([first.isDone, second.isDone]).toEqual([true, true]);
  });

  it('resolves at once without connections, and while it connects', async () => {
    fresh();
    await world.fleet.drain();
    for (const address of ['a', 'b', 'c']) world.server(address).door = 'silent';
    const caller = world.call();
    await world.settle();
    await world.fleet.drain();
    expect(caller.fault).toMatchObject({ code: LOST, sent: 'no' });
  });

  it('lets streams end', async () => {
    await fresh().open();
    const caller = await streamFrom('a');
    const drained = watched(world.fleet.drain());
    await world.settle();
    expect([drained.isDone, world.endpoint('a').traffic.inFlight]).toEqual([false, 1]);
    world.server('a').calls[0]?.stream?.close();
    await world.settle();
    expect(caller.outcomes).toHaveLength(1);
    expect(drained.isDone).toBe(true);
  });

  it('waits for leases until they are released', async () => {
    await fresh({ servers: ['a'] }).open();
    const lease = await leaseOf();
    const drained = watched(world.fleet.drain());
    await world.settle();
    expect([drained.isDone, lease.peer.state]).toEqual([false, 'open']);
    lease.release();
    await world.settle();
    expect([drained.isDone, lease.peer.state]).toEqual([true, 'closed']);
  });

  it('does not wait for what a later call has opened', async () => {
    await fresh({ servers: ['a'] }).open();
    world.server('a').freeze();
    const old = world.call();
    await world.settle();
    const drained = watched(world.fleet.drain());
    const later = world.call();
    await world.settle();
    world.server('a').calls[0]?.reply('old');
    await world.settle();
    expect([old.outcome, drained.isDone, later.settled]).toEqual(['old', true, false]);
  });

  async function streamFrom(address: string) {
    world.server(address).serve = (call) => void call.turnIntoStream()?.write('first');
    return world.callTo(address, { streams: true });
  }

  async function leaseOf() {
    const leasing = world.fleet.lease('withConnection', 1_000, true);
    await world.settle();
    return leasing;
  }
});
