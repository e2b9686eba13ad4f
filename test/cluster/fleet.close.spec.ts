import { LocalCode } from '../../lib/protocol/fault.js';
import { type Caller, fresh, world } from './fleet-world.js';

const LOST = LocalCode.ConnectionLost;

it('the end of a client is complete before a call that is made meanwhile starts it again, on all servers', async () => {
  await fresh().open();
  for (const server of world.servers.values()) server.freeze();
  const first = world.call();
  await world.settle();
  const repeated: Caller[] = [];
  first.onSettled = (): void => void repeated.push(world.call());
  world.onStatus = (status): void => {
    if (status === 'disconnected') repeated.push(world.call());
  };
  world.fleet.close('enough');
  world.onStatus = undefined;
  for (const server of world.servers.values()) server.answer();
  await world.settle();
  expect(first.fault).toMatchObject({ code: LOST, sent: 'unknown' });
  expect(repeated.map(({ outcome }) => outcome)).toEqual([
    expect.stringMatching(/[abc]/),
    expect.stringMatching(/[abc]/),
  ]);
  expect(world.endpoints.map(({ state }) => state)).toEqual(['ready', 'ready', 'ready']);
  expect(world.statuses).toEqual(['connecting', 'connected', 'disconnected', 'connecting', 'connected']);
});

it('a client that is closed again by what its end has told stays closed', async () => {
  await fresh().open();
  for (const server of world.servers.values()) server.freeze();
  const first = world.call();
  await world.settle();
  let second: Caller | undefined;
  first.onSettled = (): void => {
    second = world.call();
    world.fleet.close('again');
  };
  world.fleet.close('enough');
  await world.settle();
  expect(second?.fault).toMatchObject({ code: LOST, sent: 'no' });
  expect(world.endpoints.map(({ state }) => state)).toEqual(['idle', 'idle', 'idle']);
});

it('a call that is made because another was refused goes to no server that is closed next', async () => {
  await fresh({ servers: ['a'], retry: { baseDelayMs: 1_000 } }).open();
  world.server('a').fail({ status: 500, message: 'broken' });
  const first = world.call({ idempotent: true });
  await world.settle();
  expect([first.settled, world.fleet.counts().queued]).toEqual([false, 1]);
  world.server('a').answer();
  let second: Caller | undefined;
  first.onSettled = (): void => {
    second = world.call();
  };
  world.fleet.close('enough');
  await world.settle();
  expect([first.fault.sent, second?.outcome]).toEqual(['unknown', 'a']);
});

it.each(['gone', 'connecting'])(
  'a listener of %j may close the client while a list is taken over',
  async (state) => {
    await fresh({ servers: ['a', 'b'] }).open();
    world.onEndpoint = (change): void => {
      if (change.state !== state) return;
      world.onEndpoint = undefined;
      world.fleet.close('a listener');
    };
    world.resolver.list('b', 'c', 'd');
    await world.pass(10_000);
    expect(world.endpoints.map((each) => each.state)).toEqual(['gone', 'idle', 'idle', 'idle']);
    expect(world.statuses.at(-1)).toBe('disconnected');
  },
);

it('a listener of an endpoint may close the client when it starts', async () => {
  fresh({ servers: ['a', 'b'] });
  world.onEndpoint = (): void => {
    world.onEndpoint = undefined;
    world.fleet.close('a listener');
  };
  const caller = world.call();
  await world.pass(10_000);
  expect(caller.fault).toMatchObject({ code: LOST, sent: 'no' });
  expect(world.endpoints.map((each) => each.state)).toEqual(['idle', 'idle']);
});
