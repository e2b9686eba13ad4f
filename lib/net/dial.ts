import net from 'node:net';
import tls from 'node:tls';
import { describeEndpoint, nodeAddress, type Endpoint } from './address.js';
import { SocketLink, type SocketLinkOptions } from './socket-link.js';

export interface DialOptions extends Omit<SocketLinkOptions, 'path'> {
  /** TLS options of Node; certificates are verified unless these say otherwise. `true` takes Node's defaults. */
  readonly tls?: tls.ConnectionOptions | true | undefined;
  /** Time for the connection, TLS included. */
  readonly connectTimeoutMs: number;
}

/**
 * Connects to a server.
 *
 * @throws Error with Node's code (`ECONNREFUSED`, `ETIMEDOUT`, certificate errors, ...).
 */
export function dial(endpoint: Endpoint, options: DialOptions): Promise<SocketLink> {
  return new Promise((resolve, reject) => {
    const address = nodeAddress(endpoint);
    const secure = Boolean(options.tls);
    const socket = secure
      ? tls.connect({
          minVersion: 'TLSv1.2',
          servername: serverName(endpoint),
          ...(options.tls === true ? {} : options.tls),
          ...address,
        })
      : net.connect(address);
    const timer = options.clock.after(options.connectTimeoutMs, () => {
      const where = describeEndpoint(endpoint);
      const error = new Error(`no connection to ${where} within ${options.connectTimeoutMs} ms`);
      socket.destroy(Object.assign(error, { code: 'ETIMEDOUT' }));
    });
    const failed = (error: Error): void => {
      timer.cancel();
      reject(secure && isNoTls(error) ? speaksNoTls(endpoint, error) : error);
    };
    const closed = (): void =>
      failed(new Error(`the connection to ${describeEndpoint(endpoint)} was closed`));
    socket.once('error', failed);
    socket.once('close', closed);
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      timer.cancel();
      const link = new SocketLink(socket, { ...options, path: endpoint.path });
      socket.off('error', failed);
      socket.off('close', closed);
      resolve(link);
    });
  });
}

/** The name that the certificate must bear; an address has none to send. */
function serverName({ host }: Endpoint): string | undefined {
  return host === undefined || net.isIP(host) !== 0 ? undefined : host;
}

/** What OpenSSL says of bytes that are no TLS. */
const NO_TLS = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO']);

function isNoTls(error: Error & { code?: unknown }): boolean {
  return NO_TLS.has(error.code as string) && /wrong version|packet length/i.test(error.message);
}

function speaksNoTls(endpoint: Endpoint, cause: Error & { code?: unknown }): Error {
  const error = new Error(`${describeEndpoint(endpoint)} speaks no TLS`, { cause });
  return Object.assign(error, { code: cause.code });
}
