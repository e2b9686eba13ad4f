import { networkInterfaces } from 'node:os';
import type { RapServer } from '../../lib/index.js';

/** Addresses of this machine that others call it by. There may be none. */
const OWN_ADDRESSES = Object.values(networkInterfaces())
  .flatMap((each) => each ?? [])
  .filter(({ family, internal }) => family === 'IPv4' && !internal)
  .map(({ address }) => address);

/** Callers from outside: their addresses, and how to be one. */
export const REMOTE_CALLERS: readonly [address: string, host: (server: RapServer) => string][] = [
  ...['192.0.2.7', '2001:db8::7', '::ffff:198.51.100.7', '128.0.0.1'].map(
    (address) => [address, (server: RapServer) => callFrom(server, address)] as const,
  ),
  ...OWN_ADDRESSES.map((address) => [`${address}, which is real`, () => address] as const),
].map(([address, host]) => [address, host]);

/**
 * From now on the server's sockets say that their peers are at this address. All else is real: no machine can be called
 * from an address that it does not have.
 *
 * @returns the host to call
 */
export function callFrom(server: RapServer, address: string): string {
  server.unwrap().prependListener('connection', (socket) => {
    Object.defineProperty(socket, 'remoteAddress', { get: () => address });
  });
  return '127.0.0.1';
}
