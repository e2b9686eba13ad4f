import type { LookupAddress } from 'node:dns';
import type { AddressInfo } from 'node:net';
import { jest } from '@jest/globals';
import type { LoggedServer } from './socket-servers.js';

const V4 = { address: '127.0.0.1', family: 4 };
const V6 = { address: '::1', family: 6 };

/** What the system says of `localhost`, in its order. */
let found: LookupAddress[] = [];

const dns = await import('node:dns');
jest.unstable_mockModule('node:dns', () => ({
  ...dns,
  lookup: (_name: string, _options: object, done: (error: null, addresses: LookupAddress[]) => void) =>
    setImmediate(() => done(null, found)),
}));
const { listen } = await import('./socket-servers.js');

let server: LoggedServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

it.each([
  ['127.0.0.1', [V4, V6]],
  ['127.0.0.1', [V6, V4]],
  ['::1', [V4, V6]],
  ['::1', [V6, V4]],
])('reaches a server that listens on %s alone by a name of both families: %j', async (address, order) => {
  server = await listen({ endpoint: { host: address, port: 0 } });
  found = order;
  const { link } = await server.dial({ host: 'localhost' });
  expect(link.remote.address).toBe(address);
});

it('a server on localhost listens on the first address that the system has for it', async () => {
  const [first] = await dns.promises.lookup('localhost', { all: true });
  server = await listen({ endpoint: { host: 'localhost', port: 0 } });
  expect((server.server.server.address() as AddressInfo).address).toBe(first?.address);
});
