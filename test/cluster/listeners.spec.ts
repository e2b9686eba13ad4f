import type { EndpointState } from '../../lib/cluster/endpoint.js';
import { fresh, world } from './fleet-world.js';

/** Once, at the first change of the server to this state. */
function at(address: string, state: EndpointState, work: () => void): void {
  world.onEndpoint = (change): void => {
    if (change.address !== address || change.state !== state) return;
    world.onEndpoint = undefined;
    work();
  };
}

describe('a listener that is told of a server', () => {
  it.each<EndpointState>(['connecting', 'ready', 'gone', 'idle'])(
    'which is %s may change the list: no connection is left to what is not listed',
    async (state) => {
      fresh({ servers: ['a'] });
      at('a', state, () => world.resolver.list('b'));
      world.server('b').answer();
      const caller = world.call();
      await world.settle();
      if (state === 'gone') world.resolver.list('c');
      if (state === 'idle') world.fleet.close('the test');
      await world.pass(60_000);
      expect(world.endpoint('a').pool.size).toBe(0);
      expect(caller.outcomes).toHaveLength(1);
      await world.end();
    },
  );

  it.each<EndpointState>(['connecting', 'ready', 'gone', 'idle'])(
    'which is %s may close the client: no connection is left',
    async (state) => {
      fresh({ servers: ['a', 'b'] });
      at('a', state, () => world.fleet.close('a listener'));
      const caller = world.call();
      await world.settle();
      if (state === 'gone') world.resolver.list('c');
      if (state === 'idle') world.fleet.close('the test');
      await world.settle();
      expect([world.endpoint('a').pool.size, world.endpoint('b').pool.size]).toEqual([0, 0]);
      expect(caller.outcomes).toHaveLength(1);
      await world.end();
    },
  );
});
