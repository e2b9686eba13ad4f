import { TestFleet } from './test-fleet.js';

let fleet: TestFleet;
beforeEach(async () => {
  fleet = await TestFleet.start(3);
});
afterEach(() => fleet.close());

it('spreads calls over all servers', async () => {
  const client = await fleet.ready();
  const names = await Promise.all(Array.from({ length: 300 }, () => client.call<string>('name')));
  expect(new Set(names)).toEqual(new Set(['s0', 's1', 's2']));
  const { endpoints = [] } = client.stats();
  expect(endpoints.map(({ state }) => state)).toEqual(['ready', 'ready', 'ready']);
  expect(endpoints.reduce((sum, { picks }) => sum + picks, 0)).toBe(300);
});

it('streams, opens channels and sends events', async () => {
  const client = fleet.client();
  const items: string[] = [];
  for await (const item of client.stream<string>('count', 3)) items.push(item);
  expect(items).toHaveLength(3);
  await new Promise<void>((resolve, reject) => {
    client.emit('name', undefined).subscribe({ complete: resolve, error: reject });
  });
  expect(client.stats().endpoints?.every(({ inFlight }) => inFlight === 0)).toBe(true);
});

it('loses no call when a server is closed in order', async () => {
  const client = await fleet.ready();
  const calls = Array.from({ length: 200 }, (_, i) => client.call<string>('slow', i % 50));
  const closing = fleet.apps[1]?.server.close();
  const more = Array.from({ length: 200 }, (_, i) => client.call<string>('slow', i % 50));
  await expect(Promise.all([...calls, ...more])).resolves.toHaveLength(400);
  await closing;
  expect(fleet.works.reduce((sum, { calls: count }) => sum + count, 0)).toBe(400);
});
