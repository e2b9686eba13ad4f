import { fresh, world } from './fleet-world.js';

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];

/** Servers that were dialled since then. */
function dialled(since: ReadonlyMap<string, number>): string[] {
  return NAMES.filter((name) => world.server(name).dials.length > (since.get(name) ?? 0));
}

function dials(): Map<string, number> {
  return new Map(NAMES.map((name) => [name, world.server(name).dials.length]));
}

it('a server that is silent gets no new calls', async () => {
  await fresh().open();
  const [silent] = world.server('a').dials;
  const waiting = await (world.server('a').freeze(), world.callTo('a', { timeoutMs: 60_000 }));
  silent?.links.toServer.hold();
  await world.pass(1_000 + 250);
  expect(world.state('a')).toBe('suspect');
  const before = world.endpoint('a').traffic.picks;
  const callers = Array.from({ length: 30 }, () => world.call());
  await world.settle();
  expect(callers.map(({ settled }) => settled)).toEqual(callers.map(() => true));
  expect(world.endpoint('a').traffic.picks).toBe(before);

  silent?.links.toServer.release();
  await world.settle();
  expect(world.state('a')).toBe('ready');
  world.server('a').calls[0]?.reply('late');
  await world.settle();
  expect(waiting.outcome).toBe('late');
});

/** The part of 300 calls that goes to the server. */
const share = async (): Promise<number> => {
  const before = world.endpoint('a').traffic.picks;
  for (let i = 0; i < 300; i += 1) {
    world.call();
    await world.settle();
  }
  return (world.endpoint('a').traffic.picks - before) / 300;
};

it('a server that was lost gets its calls gradually again', async () => {
  await fresh({ balancer: 'p2c' }).open();
  await world.pass(60_000, 1_000);
  expect(await share()).toBeGreaterThan(0.2);
  world.server('a').die();
  await world.settle();
  world.server('a').door = 'open';
  for (let left = 100; world.state('a') !== 'ready' && left > 0; left -= 1) await world.pass(50);
  expect(await share()).toBeLessThan(0.1);
});

it('after the orderly shutdown of a server that was stable for a moment, the backoff starts over', async () => {
  fresh({ servers: ['a'] });
  const server = world.server('a');
  server.door = 'closed';
  world.fleet.start();
  await world.pass(9_000, 100);
  server.door = 'open';
  for (let left = 100; world.state('a') !== 'ready' && left > 0; left -= 1) await world.pass(50);
  await world.pass(1_000);
  server.door = 'closed';
  const before = server.dials.length;
  server.drain();
  await world.settle();
  expect(world.state('a')).toBe('draining');
  await world.pass(50, 10);
  expect(server.dials.length).toBeGreaterThan(before);
});

it('if the last server that takes calls is lost, three of those that were lost before are tried soon', async () => {
  await fresh({ servers: NAMES }).open();
  for (const name of NAMES.slice(0, -1)) world.server(name).die();
  await world.pass(60_000, 200);
  expect(world.state('h')).toBe('ready');
  const since = dials();
  world.server('h').die();
  await world.pass(750);
  expect(dialled(since).length).toBeGreaterThanOrEqual(3);
});

it('of more than three servers, none is tried at once when they are lost', async () => {
  for (const [servers, isOneOfMany] of [
    [NAMES.slice(0, 3), false],
    [NAMES.slice(0, 4), true],
  ] as const) {
    await fresh({ servers }).open();
    expect(world.fleet.patienceFor(world.endpoint('a'))).toMatchObject({ isOneOfMany });
    if (!isOneOfMany) await world.end();
  }
});
