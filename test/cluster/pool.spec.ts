import type { Lease } from '../../lib/cluster/pooled-connection.js';
import type { Pool } from '../../lib/cluster/pool.js';
import { LocalCode } from '../../lib/protocol/fault.js';
import { rejection } from '../helpers/async.js';
import { fresh, type TestServer, world, type WorldOptions } from './fleet-world.js';

let server: TestServer;
let pool: Pool;

/** One server that answers nothing, whose connections are those of one pool. */
async function open(options: WorldOptions['pool'], rest: WorldOptions = {}): Promise<void> {
  await (fresh({ servers: ['a'], ...rest, pool: { callsPerConnection: 2, ...options } }), world.open());
  server = world.server('a');
  server.freeze();
  ({ pool } = world.endpoint('a'));
}

const calls = (count: number) => Array.from({ length: count }, () => world.call({ timeoutMs: 3_600_000 }));

/** Calls in flight on each connection, in the order in which they were dialled. */
const spread = (): number[] =>
  server.dials.map(({ owner }) => owner.calls.filter(({ settled }) => !settled).length);

function answerAll(): void {
  for (const call of server.calls) {
    call.reply('y');
    call.ended();
  }
}

describe('a pool under load', () => {
  it('opens one connection after the other, up to its limit', async () => {
    await open({ max: 3 });
    calls(2);
    expect(server.dials).toHaveLength(1);
    calls(10);
    expect(server.dials).toHaveLength(2); // one attempt at a time
    await world.settle();
    calls(1);
    expect(server.dials).toHaveLength(3 - 1);
    await world.settle();
    calls(20);
    await world.settle();
    calls(20);
    await world.settle();
    expect(server.dials).toHaveLength(3);
    expect(pool.size).toBe(3);
  });

  it('spreads calls evenly over its connections', async () => {
    await open({ max: 3 });
    for (let i = 0; i < 12; i += 1) {
      calls(1);
      await world.settle();
    }
    expect(spread()).toEqual([4, 4, 4]);
  });

  it('waits a second after an attempt that has failed', async () => {
    await open({ max: 3 });
    server.door = 'closed';
    calls(4);
    await world.settle();
    expect(server.dials).toHaveLength(2);
    calls(4);
    await world.pass(950);
    calls(1);
    await world.settle();
    expect([server.dials.length, world.state('a')]).toEqual([2, 'ready']);
    server.door = 'open';
    await world.pass(50);
    calls(1);
    await world.settle();
    expect([server.dials.length, pool.size]).toEqual([3, 2]);
  });

  it('closes one connection after 30 s of less load, and one 30 s later', async () => {
    await open({ max: 3 });
    for (let i = 0; i < 6; i += 1) {
      calls(1);
      await world.settle();
    }
    expect(pool.size).toBe(3);
    answerAll();
    await world.pass(29_000, 500);
    expect(pool.size).toBe(3);
    await world.pass(31_000, 500); // the load of the first half minute counts for that
    expect(pool.size).toBe(2);
    await world.pass(30_000, 500);
    expect(pool.size).toBe(1);
    await world.pass(120_000, 500);
    expect(pool.size).toBe(1);
  });

  it('closes none with calls on it, and keeps those that calls in flight need', async () => {
    await open({ max: 3 });
    for (let i = 0; i < 6; i += 1) {
      calls(1);
      await world.settle();
    }
    await world.pass(150_000, 500);
    expect([pool.size, pool.isDrained, spread()]).toEqual([3, true, [3, 3, 0]]);
    expect(world.callers.every(({ settled }) => !settled)).toBe(true);
  });

  it('keeps its least number open', async () => {
    await open({ min: 2, max: 3 });
    expect([server.dials.length, pool.size]).toEqual([2, 2]);
    server.last.reset();
    await world.settle();
    expect([pool.size, world.state('a')]).toEqual([1, 'ready']);
    server.door = 'closed';
    await world.pass(1_000);
    expect([server.dials.length, pool.size]).toEqual([3, 1]);
    server.door = 'open';
    await world.pass(1_000);
    expect([server.dials.length, pool.size]).toEqual([4, 2]);
    server.dials[0]?.peer?.drain(10_000);
    await world.settle();
    await world.pass(1_000);
    expect(pool.size).toBe(2);
  });
});

const dials = () => [...world.servers.values()].map((each) => each.dials.length);

describe('a connection that ages', () => {
  const AGED = { maxConnectionAgeMs: 10_000, ageJitter: 0 };

  it('is replaced before it is drained', async () => {
    await open(AGED);
    const [caller] = calls(1);
    await world.settle();
    server.door = 'silent';
    await world.pass(10_000, 500);
    expect([server.dials.length, pool.size, pool.isDrained]).toEqual([2, 1, true]);
    calls(1);
    await world.settle();
    expect(spread()).toEqual([2, 0]);
    server.last.accept();
    await world.settle();
    expect([pool.size, pool.isDrained]).toEqual([2, false]);
    calls(1);
    await world.settle();
    expect(spread()).toEqual([2, 1]);
    answerAll();
    await world.settle();
    expect([caller?.outcome, pool.size]).toEqual(['y', 1]);
    expect(world.changes.map(({ state }) => state)).toEqual(['connecting', 'ready']);
  });

  it('stays if its replacement cannot be opened, which is tried again each second', async () => {
    await open(AGED);
    server.door = 'closed';
    await world.pass(13_000, 500);
    expect([server.dials.length, pool.size, world.state('a')]).toEqual([5, 1, 'ready']);
    server.door = 'open';
    await world.pass(1_000, 500);
    expect([server.dials.length, pool.size, pool.isDrained]).toEqual([6, 1, true]);
    expect(server.dials[0]?.links.client.closed).toBe(true);
  });

  it('is replaced by one only, however long that takes to open', async () => {
    await open(AGED);
    server.door = 'silent';
    await world.pass(15_000, 500);
    expect([server.dials.length, pool.size]).toEqual([2, 1]);
  });

  it('may be lost while it is replaced', async () => {
    await open(AGED);
    server.door = 'silent';
    await world.pass(10_000, 500);
    server.dials[0]?.reset();
    await world.settle();
    expect(world.state('a')).toBe('connecting');
    server.last.accept();
    await world.settle();
    expect([world.state('a'), pool.size, server.dials.length]).toEqual(['ready', 1, 2]);
  });

  it('ages by chance a little faster, so that not all are replaced at once', async () => {
    await open({ ...AGED, ageJitter: 0.5 }, { servers: ['a', 'b', 'c', 'd'] });
    await world.pass(4_950);
    expect(dials()).toEqual([1, 1, 1, 1]);
    const times = new Set<number>();
    for (let i = 0; i < 55; i += 1) {
      const before = dials().join();
      await world.pass(100);
      if (dials().join() !== before) times.add(i);
    }
    expect(times.size).toBeGreaterThan(2);
  });

  it('is not replaced once it drains: its endpoint says when to connect again', async () => {
    await open(AGED, { servers: ['a', 'b'] });
    await world.callTo('a', { timeoutMs: 60_000 });
    await world.pass(9_900, 100);
    server.drain(60_000);
    await world.settle();
    expect(world.state('a')).toBe('draining');
    await world.pass(150);
    expect([world.state('a'), server.dials.length]).toEqual(['draining', 1]);
    await world.pass(4_000);
    expect([world.state('a'), server.dials.length]).toEqual(['ready', 2]);
  });
});

async function two(): Promise<void> {
  await open({ max: 2 });
  for (let i = 0; i < 4; i += 1) {
    calls(1);
    await world.settle();
  }
  expect(spread()).toEqual([3, 1]);
}

describe('several connections of a pool', () => {
  it('one that is suspect gets no calls, and the server is still ready', async () => {
    await two();
    server.dials[0]?.links.toServer.hold();
    await world.pass(2_500);
    expect(world.state('a')).toBe('ready');
    calls(4);
    await world.settle();
    expect(spread()).toEqual([3, 5]);
    server.dials[0]?.links.toServer.release();
    await world.settle();
    calls(2);
    await world.settle();
    expect(spread()).toEqual([5, 5]);
  });

  it('if all are suspect, the server is, and no more are opened for that', async () => {
    await open({ max: 4, callsPerConnection: 100, min: 2 });
    calls(4);
    await world.settle();
    for (const { links } of server.dials) links.toServer.hold();
    await world.pass(2_500);
    expect(world.state('a')).toBe('suspect');
    calls(4);
    await world.settle();
    expect(server.dials).toHaveLength(2);
    for (const { links } of server.dials) links.toServer.release();
    await world.settle();
    expect(world.state('a')).toBe('ready');
  });

  it('if the server ends one, the other takes the calls', async () => {
    await two();
    server.dials[0]?.peer?.drain(60_000);
    await world.settle();
    expect([world.state('a'), pool.size, pool.isDrained]).toEqual(['ready', 2, false]);
    calls(2);
    await world.settle();
    expect(spread()[0]).toBe(3);
    answerAll();
    await world.settle();
    expect(pool.isDrained).toBe(true);
  });

  it('one that did not prove in time that it lives is not said to shut down', async () => {
    await open({});
    server.last.links.toServer.lose();
    world.clock.freeze(180_000);
    const [caller] = calls(1);
    server.door = 'silent';
    await world.pass(1_000);
    const { state, reason } = world.changes.at(-1) ?? {};
    expect(state).toBe('connecting'); // another connection replaces it at once
    expect(reason).toMatch(/a: the server did not answer|takes no more calls/);
    server.last.accept();
    await world.settle();
    answerAll();
    await world.settle();
    expect(caller?.outcome).toBe('y');
  });
});

async function leased() {
  const leasing = world.fleet.lease('withConnection', 1_000, true);
  await world.settle();
  return leasing;
}

const hold = (): Promise<Lease> => world.fleet.lease('openSession', 1_000, false);

describe('a connection that a caller is bound to', () => {
  it('is not closed while the pool shrinks; one that is free is', async () => {
    await open({ max: 2 });
    calls(2);
    const lease = await hold(); // this is one more than the first connection takes
    await world.settle();
    const later = await hold();
    expect([pool.size, lease.peer === later.peer]).toEqual([2, false]);
    answerAll();
    await world.pass(120_000, 500);
    expect([pool.size, lease.peer.state, later.peer.state]).toEqual([2, 'open', 'open']);
    lease.release();
    await world.pass(60_000, 500);
    expect([pool.size, lease.peer.state, later.peer.state]).toEqual([1, 'closed', 'open']);
    later.release();
  });

  it('that is replaced because of its age takes the calls of that caller alone, until the caller has gone', async () => {
    await open({ maxConnectionAgeMs: 10_000, ageJitter: 0 });
    const [lease, other] = [await hold(), await hold()];
    await world.pass(11_000, 500);
    expect([pool.size, pool.isDrained, lease.peer.state]).toEqual([2, false, 'open']);
    expect(world.endpoint('a').peer).not.toBe(lease.peer);
    lease.release();
    lease.release();
    await world.settle();
    expect(other.peer.state).toBe('open');
    other.release();
    await world.settle();
    expect([pool.size, pool.isDrained, other.peer.state]).toEqual([1, true, 'closed']);
  });

  it('stays if the server is not listed any more, and ends with the drain of the client', async () => {
    await open({}, { servers: ['a', 'b'] });
    const lease = await hold();
    const at = world.endpoints.find(({ peer }) => peer === lease.peer)?.address;
    world.resolver.list(...['a', 'b'].filter((each) => each !== at));
    await world.settle();
    expect(lease.peer.state).toBe('open');
    const drained = world.fleet.drain();
    await world.settle();
    await drained;
    expect(lease.peer.state).toBe('closed');
  });
});

describe('a lease', () => {
  it('is a connection of its own, which the pool neither counts nor picks', async () => {
    await open({ max: 1 });
    const lease = await leased();
    expect([server.dials.length, pool.size]).toEqual([2, 2]);
    calls(5);
    await world.settle();
    expect(spread()).toEqual([5, 0]);
    expect(lease.peer).not.toBe(world.endpoint('a').peer);
    lease.release();
    lease.release();
    await world.settle();
    expect([pool.size, lease.peer.state]).toEqual([1, 'closed']);
  });

  it('is closed after its release when its calls have ended', async () => {
    await open({});
    const lease = await leased();
    const outcomes: unknown[] = [];
    const request = { target: '/default/x', header: { target: '/default/x' }, body: 1, timeoutMs: 1_000 };
    lease.peer.call(request, { resolve: (body) => outcomes.push(body), reject: () => {} });
    await world.settle();
    lease.release();
    await world.settle();
    expect([lease.peer.state, pool.size]).toEqual(['draining', 2]);
    answerAll();
    await world.settle();
    expect([outcomes, lease.peer.state, pool.size]).toEqual([['y'], 'closed', 1]);
  });

  it('is closed with the client, and may be lost before', async () => {
    await open({});
    const [lost, kept] = [await leased(), await leased()];
    server.dials[1]?.reset();
    await world.settle();
    expect([lost.peer.state, kept.peer.state, world.state('a'), pool.size]).toEqual([
      'closed',
      'open',
      'ready',
      2,
    ]);
    lost.release();
    world.fleet.close('the end');
    await world.settle();
    expect([kept.peer.state, pool.size]).toEqual(['closed', 0]);
    kept.release();
  });

  it('fails if it cannot be opened', async () => {
    await open({});
    server.door = 'closed';
    const failing = rejection(leased());
    await world.pass(100); // it is tried twice
    expect(await failing).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
    expect(world.state('a')).toBe('ready');
  });

  it('fails if it takes too long, or the client is closed meanwhile', async () => {
    await open({});
    server.door = 'silent';
    const errors: unknown[] = [];
    const lease = (): void => {
      world.fleet.lease('withConnection', 500, true).catch((error: unknown) => errors.push(error));
    };
    lease();
    await world.settle();
    await world.pass(500);
    expect(errors).toMatchObject([{ code: LocalCode.CallTimeout, phase: 'connect', sent: 'no' }]);
    expect(pool.isDrained).toBe(true);
    lease();
    await world.settle();
    world.fleet.close('the end');
    await world.settle();
    expect(errors[1]).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
  });

  it('that is shared is one of the pool', async () => {
    await open({});
    const lease = await world.fleet.lease('withConnection', 1_000, false);
    expect(lease.peer).toBe(world.endpoint('a').peer);
    lease.release();
    expect(lease.peer.state).toBe('open');
  });
});
