import { fresh, world } from './fleet-world.js';

it('a resolver that fails while its servers are being connected fails no call: its list stays valid', async () => {
  fresh({ servers: ['a'] });
  const server = world.server('a');
  server.door = 'silent';
  server.answer();
  const caller = world.call();
  await world.settle();
  world.resolver.fail('SERVFAIL');
  await world.settle();
  expect([caller.settled, world.resolverErrors]).toEqual([false, ['SERVFAIL']]);
  server.last.accept();
  await world.settle();
  expect(caller.outcome).toBe('a');
});
