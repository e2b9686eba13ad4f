import { staticResolver } from '../../lib/cluster/static-resolver.js';
import type { ServerAddress } from '../../lib/cluster/server-address.js';

function listOf(servers: readonly ServerAddress[]): readonly ServerAddress[] {
  let list: readonly ServerAddress[] = [];
  const stop = staticResolver(servers).watch((found) => (list = found));
  stop();
  stop();
  return list;
}

it('lists the servers at once', () => {
  const servers = [
    { host: 'a', port: 1, weight: 0 },
    { path: '/s' },
    {},
    { host: 'a', metadata: { zone: 'b' } },
  ];
  expect(listOf(servers)).toEqual(servers);
});

it('keeps its list if the caller changes theirs', () => {
  const first = { host: 'a', weight: 1 };
  const resolver = staticResolver([first]);
  first.weight = NaN;
  const lists: unknown[] = [];
  resolver.watch((list) => lists.push(list));
  expect(lists).toEqual([[{ host: 'a', weight: 1 }]]);
});

it('takes a port as text, from the environment', () => {
  expect(listOf([{ port: '81' as never }])).toEqual([{ port: 81 }]);
});

const good = { host: 'a' };

it.each<[unknown, string]>([
  [undefined, 'servers must be a list'],
  [{}, 'servers must be a list'],
  [[], 'servers is empty'],
  [[good, null], 'servers[1] must be an object'],
  [[good, 'b:1'], 'servers[1] must be an object'],
  [
    [good, {}, { host: 'b', weight: NaN }],
    'servers[2].weight must be a finite number of at least 0, got NaN',
  ],
  [[good, {}, { host: 'b', weight: -1 }], 'servers[2].weight must be a finite number of at least 0, got -1'],
  [[{ weight: Infinity }], 'servers[0].weight'],
  [[{ weight: '1' }], 'servers[0].weight'],
  [[{ weight: null }], 'servers[0].weight'],
  [[{ host: '' }], 'servers[0].host must be text'],
  [[{ host: 4 }], 'servers[0].host must be text'],
  [[{ path: '' }], 'servers[0].path must be text'],
  [[{ serverName: '' }], 'servers[0].serverName must be text'],
  [[{ port: 0 }], 'servers[0].port must be a whole number from 1 to 65535, got 0'],
  [[{ port: 65_536 }], 'servers[0].port'],
  [[{ port: 1.5 }], 'servers[0].port'],
  [[{ port: '' }], 'servers[0].port'],
  [[{ metadata: 'zone' }], 'servers[0].metadata must be an object'],
  [[{ hots: 'a' }], 'servers[0].hots is not an option; did you mean servers[0].host?'],
  [[good, { host: 'b' }, { host: 'a', port: 9000 }], 'servers[2] has the address of servers[0]: a:9000'],
  [[{ path: '/s' }, { path: '/s', port: 1 }], 'servers[1] has the address of servers[0]: /s'],
])('refuses %j: %s', (servers, message) => {
  const refused = (): unknown => staticResolver(servers as ServerAddress[]);
  expect(refused).toThrow(RangeError);
  expect(refused).toThrow(message);
});
