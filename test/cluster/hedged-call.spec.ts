import { Fault, LocalCode } from '../../lib/protocol/fault.js';
import { Status } from '../../lib/protocol/status.js';
import { type Caller, fresh, type TestServer, world, type WorldOptions } from './fleet-world.js';

const HEDGED: WorldOptions = { hedge: { minSamples: 5, maxRatio: 1 }, eject: false };
const BROKEN = { status: Status.Server, message: 'broken' };

/** A fleet whose calls are known to take no time, and whose servers answer no more. */
async function ready(options: WorldOptions = HEDGED): Promise<void> {
  await (fresh(options), world.open());
  for (let i = 0; i < 6; i += 1) {
    world.call({ idempotent: true });
    await world.settle();
  }
  for (const server of world.servers.values()) {
    server.freeze();
    server.calls.length = 0;
  }
}

/** The servers that have calls, in the order in which they got them. */
const order: TestServer[] = [];

function watchOrder(): void {
  order.length = 0;
  for (const server of world.servers.values()) server.serve = () => order.push(server);
}

/** A call whose second attempt runs. */
async function hedged(options: WorldOptions = HEDGED, timeoutMs = 1_000): Promise<Caller> {
  await ready(options);
  watchOrder();
  const caller = world.call({ idempotent: true, timeoutMs });
  await world.settle();
  await world.pass(1, 1);
  expect([order.length, order[0] === order[1]]).toEqual([2, false]);
  return caller;
}

const answer = (index: number): void => order[index]?.calls.at(-1)?.reply(index);
const fail = (index: number): void => {
  const call = order[index]?.calls.at(-1);
  order[index]?.fail(BROKEN);
  if (call) order[index]?.serve?.(call);
  watchLater();
};
/** What comes from now on is only counted. */
function watchLater(): void {
  for (const server of world.servers.values()) server.serve = () => order.push(server);
}
const cancels = (): number[] => order.map((server) => server.cancels);

it.each([0, 1])(
  'the first answer counts, that of attempt %i, and the other is cancelled once',
  async (first) => {
    const caller = await hedged();
    answer(first);
    await world.settle();
    expect(caller.outcome).toBe(first);
    expect(cancels()).toEqual(first === 0 ? [0, 1] : [1, 0]);
    answer(1 - first);
    await world.pass(2_000);
    expect([caller.outcomes.length, ...cancels()]).toEqual([1, ...(first === 0 ? [0, 1] : [1, 0])]);
  },
);

it('an error of the function is an answer', async () => {
  const caller = await hedged();
  order[0]?.calls
    .at(-1)
    ?.fail(new Fault({ status: Status.Invoke, message: 'no such user' }), 'NotFoundException');
  await world.settle();
  expect(caller.fault.message).toContain('no such user');
  expect(cancels()).toEqual([0, 1]);
});

it('a call that is answered in time has no second attempt', async () => {
  await ready();
  watchOrder();
  const caller = world.call({ idempotent: true });
  await world.settle();
  answer(0);
  await world.settle();
  await world.pass(100);
  expect([caller.outcome, order.length]).toEqual([0, 1]);
});

it('only idempotent calls have one', async () => {
  await ready();
  watchOrder();
  world.call();
  await world.settle();
  await world.pass(100);
  expect(order).toHaveLength(1);
});

it('there is none without another server', async () => {
  await ready({ ...HEDGED, servers: ['a'] });
  watchOrder();
  const caller = world.call({ idempotent: true });
  await world.settle();
  await world.pass(100);
  expect(order).toHaveLength(1);
  answer(0);
  await world.settle();
  expect(caller.outcome).toBe(0);
});

/** A call whose first attempts were failed, and whose last one takes long. */
async function slowAfter(failures: number, options: WorldOptions): Promise<void> {
  await ready({ ...HEDGED, ...options });
  for (const server of world.servers.values())
    server.serve = (call): void => {
      order.push(server);
      if (order.length > failures) return;
      call.fail(new Fault(BROKEN), 'InternalServerErrorException');
      call.ended();
    };
  order.length = 0;
  world.call({ idempotent: true, timeoutMs: 1_000 });
  await world.settle();
  expect(order).toHaveLength(failures + 1);
  await world.pass(100, 1);
}

it.each([
  [1, {}, 3],
  [2, {}, 3],
  [1, { retry: { maxAttempts: 2 } }, 2],
  [2, { retry: { maxAttempts: 4 } }, 4],
  [0, { retry: { maxAttempts: 1 } }, 2],
])('after %i failures, with %j, it has %i attempts in all', async (failures, options, attempts) => {
  await slowAfter(failures, { servers: ['a', 'b', 'c', 'd'], ...options });
  expect(order).toHaveLength(attempts);
  expect(new Set(order).size).toBe(attempts);
});

it.each(['p2c', 'roundRobin', 'random', 'leastInFlight'] as const)(
  'there is none at a server that has failed it, or works on it: %s',
  async (balancer) => {
    await slowAfter(1, { servers: ['a', 'b'], balancer });
    expect(order).toHaveLength(2);
  },
);

it('if the second attempt is refused, the first goes on', async () => {
  await ready();
  watchOrder();
  const caller = world.call({ idempotent: true });
  await world.settle();
  for (const server of world.servers.values())
    if (server !== order[0])
      server.fail({ status: Status.TooManyRequests, message: 'too many', refused: true, retry: false });
  await world.pass(1, 1);
  expect(caller.settled).toBe(false);
  answer(0);
  await world.settle();
  expect(caller.outcome).toBe(0);
});

it('a second attempt that is refused is not made again at the server of the first, which goes on', async () => {
  await ready({ ...HEDGED, servers: ['a', 'b'] });
  watchOrder();
  const caller = world.call({ idempotent: true });
  await world.settle();
  const other = world.server(order[0]?.address === 'a' ? 'b' : 'a');
  other.serve = (call): void => {
    order.push(other);
    call.fail(new Fault({ status: Status.TooManyRequests, message: 'too many', refused: true }), 'TooMany');
    call.ended();
  };
  await world.pass(500, 10);
  expect([order.length, order[1], caller.settled]).toEqual([2, other, false]);
  answer(0);
  await world.settle();
  expect([caller.outcome, order.length]).toEqual([0, 2]);
});

it('if both are lost, it fails with what both met, and was sent', async () => {
  const caller = await hedged({ ...HEDGED, servers: ['a', 'b'], retry: { maxAttempts: 2 } });
  fail(0);
  await world.settle();
  expect(caller.settled).toBe(false);
  world.server(order[1]?.address ?? '').fail({
    status: Status.TooManyRequests,
    message: 'too many',
    refused: true,
    retry: false,
  });
  for (const server of order.slice()) for (const call of server.calls) server.serve?.(call);
  await world.pass(200);
  expect(caller.fault.sent).toBe('unknown');
  expect(caller.fault.attempts?.length).toBeGreaterThanOrEqual(2);
});

it('both together have three attempts that may run, each on another server', async () => {
  const caller = await hedged({ ...HEDGED, servers: ['a', 'b', 'c', 'd'] });
  fail(0);
  await world.settle();
  expect(order).toHaveLength(3);
  fail(1);
  await world.settle();
  fail(2);
  await world.pass(500);
  expect(order).toHaveLength(3);
  expect(new Set(order).size).toBe(3);
  expect(caller.fault.attempts).toHaveLength(3);
});

it('a first attempt that fails before has its repeat, and no second beside it unless that is slow, too', async () => {
  await ready();
  watchOrder();
  const caller = world.call({ idempotent: true });
  await world.settle();
  fail(0);
  await world.settle();
  expect(order).toHaveLength(2);
  answer(1);
  await world.settle();
  await world.pass(100);
  expect([caller.outcome, order.length]).toEqual([1, 2]);
});

it('a first attempt that fails after leaves the answer to the second', async () => {
  const caller = await hedged({ ...HEDGED, servers: ['a', 'b'], retry: { maxAttempts: 2 } });
  fail(0);
  await world.settle();
  expect(caller.settled).toBe(false);
  answer(1);
  await world.settle();
  expect(caller.outcome).toBe(1);
});

it('cancels both if the caller cancels', async () => {
  const caller = await hedged();
  expect(caller.started.wasSent).toBe(true);
  caller.abandon();
  caller.abandon();
  await world.settle();
  expect([...cancels(), caller.settled]).toEqual([1, 1, false]);
});

it('has no second attempt if it is cancelled before', async () => {
  await ready();
  watchOrder();
  const caller = world.call({ idempotent: true });
  await world.settle();
  caller.abandon();
  await world.pass(100);
  expect([order.length, ...cancels()]).toEqual([1, 1]);
});

it('keeps the time limit over both', async () => {
  const caller = await hedged(HEDGED, 200);
  await world.pass(198, 198);
  expect(caller.settled).toBe(false);
  await world.pass(1);
  expect(caller.fault).toMatchObject({ code: LocalCode.CallTimeout, phase: 'response', sent: 'unknown' });
  await world.settle();
  expect(cancels()).toEqual([1, 1]);
});

it('hedges at most a share of the calls', async () => {
  await ready({ ...HEDGED, hedge: { minSamples: 5, maxRatio: 0.25 } });
  watchOrder();
  const callers = Array.from({ length: 14 }, () => world.call({ idempotent: true }));
  await world.settle();
  await world.pass(1, 1);
  expect(order).toHaveLength(14 + 5); // of 20 calls
  for (const server of world.servers.values()) for (const call of server.calls) call.reply('y');
  await world.settle();
  expect(callers.every(({ outcome }) => outcome === 'y')).toBe(true);
});

it('waits for a server as any other call, without a second attempt', async () => {
  await ready({ ...HEDGED, servers: ['a'] });
  world.server('a').die();
  await world.settle();
  const caller = world.call({ idempotent: true });
  await world.pass(20);
  world.server('a').door = 'open';
  world.server('a').answer();
  await world.pass(2_000);
  expect([caller.outcome, world.server('a').calls.length]).toEqual(['a', 1]);
});
