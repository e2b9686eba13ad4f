import { lookup } from 'node:dns';
import net from 'node:net';
import tls from 'node:tls';
import { addressText } from '../protocol/server-address.js';
import { nodeAddress, type Endpoint } from './address.js';
import { ConnectRace, interleaved } from './connect-race.js';
import type { Network } from './network.js';
import { meaningOf, refusal } from './early-end.js';
import { SocketLink, type SocketLinkOptions } from './socket-link.js';

export interface DialOptions extends Omit<SocketLinkOptions, 'path'> {
  /** TLS options of Node; certificates are verified unless these say otherwise. `true`: Node's defaults. */
  readonly tls?: tls.ConnectionOptions | true | undefined;
  /** Default: that of the machine. */
  readonly network?: Network | undefined;
  /** Time to connect, TLS included. */
  readonly connectTimeoutMs: number;
  /** Gives up when it aborts. */
  readonly signal?: AbortSignal | undefined;
}

const NOTHING = (): void => {};

/**
 * Connects to a server.
 *
 * @throws Error with Node's code (`ECONNREFUSED`, `ETIMEDOUT`, certificate errors, ...).
 */
export function dial(endpoint: Endpoint, options: DialOptions): Promise<SocketLink> {
  return new Promise((resolve, reject) => {
    const { tls: tlsOptions, network, clock, connectTimeoutMs, signal } = options;
    const secure = Boolean(tlsOptions);
    let stop = NOTHING;
    let isOver = false;
    const failed = (error: Error): void => {
      isOver = true;
      settled();
      stop();
      reject(secure && isNoTls(error) ? speaksNoTls(endpoint, error) : (refusal(error) ?? error));
    };
    const timer = clock.after(connectTimeoutMs, () => {
      const error = new Error(`no connection to ${addressText(endpoint)} within ${connectTimeoutMs} ms`);
      failed(Object.assign(error, { code: 'ETIMEDOUT' }));
    });
    const unwanted = (): void => failed(new Error(`nobody waits for ${addressText(endpoint)} any more`));
    signal?.addEventListener('abort', unwanted, { once: true });
    const settled = (): void => {
      timer.cancel();
      signal?.removeEventListener('abort', unwanted);
    };
    const onConnect = (raw: net.Socket): void => {
      let socket = raw;
      try {
        if (secure) socket = secured(raw, endpoint, tlsOptions);
      } catch (error) {
        raw.destroy();
        return failed(error as Error); // a certificate that cannot be read
      }
      stop = () => socket.destroy();
      const ready = (): void => {
        settled();
        socket.off('error', failed);
        socket.off('close', closed);
        resolve(
          new SocketLink(socket, {
            ...options,
            path: endpoint.path,
            explain: (end) => meaningOf(end, secure),
          }),
        );
      };
      const closed = (): void => failed(new Error(`the connection to ${addressText(endpoint)} was closed`));
      socket.once('error', failed);
      socket.once('close', closed);
      if (secure) socket.once('secureConnect', ready);
      else ready();
    };
    const race = (addresses: readonly string[], open: (address: string) => net.Socket): void => {
      if (isOver) return;
      try {
        const attempt = new ConnectRace(addresses, { clock, open, onConnect, onError: failed });
        stop = () => attempt.stop();
      } catch (error) {
        failed(error as Error); // an invalid port
      }
    };
    if (network) return race([addressText(endpoint)], () => network.connect(endpoint));
    const address = nodeAddress(endpoint);
    if ('path' in address) return race([address.path], (path) => net.connect({ path }));
    const { host, port } = address;
    const open = (each: string): net.Socket => net.connect({ host: each, port });
    if (net.isIP(host) !== 0) return race([host], open);
    lookup(host, { all: true }, (error, found) => {
      if (!error) return race(interleaved(found), open);
      if (!isOver) failed(error);
    });
  });
}

function secured(
  socket: net.Socket,
  endpoint: Endpoint,
  options: tls.ConnectionOptions | true | undefined,
): tls.TLSSocket {
  return tls.connect({
    minVersion: 'TLSv1.2',
    servername: serverName(endpoint),
    ...(options === true ? {} : options),
    host: endpoint.host,
    socket,
  });
}

/** The name that is sent to the server and that its certificate must have; an IP address cannot be sent. */
function serverName({ host, serverName: name }: Endpoint): string | undefined {
  if (name !== undefined) return name;
  return host === undefined || net.isIP(host) !== 0 ? undefined : host;
}

/** OpenSSL's error for bytes that are not TLS. */
const NO_TLS = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO']);

function isNoTls(error: Error & { code?: unknown }): boolean {
  return NO_TLS.has(error.code as string) && /wrong version|packet length/i.test(error.message);
}

function speaksNoTls(endpoint: Endpoint, cause: Error & { code?: unknown }): Error {
  const error = new Error(`${addressText(endpoint)} speaks no TLS`, { cause });
  return Object.assign(error, { code: cause.code });
}
