import type { Socket } from 'node:net';
import { type PeerCertificate, TLSSocket } from 'node:tls';
import type { RemoteAddress, TlsPeer } from '../protocol/link.js';
import { DEFAULT_HOST, DEFAULT_PORT, type HostAndPort } from '../protocol/server-address.js';

/** The address to listen on or connect to. */
export interface Endpoint extends HostAndPort {
  /** Name that the server's certificate must have. Default: `host`. */
  readonly serverName?: string | undefined;
}

/** What Node's `listen` and `connect` take. */
export function nodeAddress({
  host,
  port,
  path,
}: Endpoint): { path: string } | { host: string; port: number } {
  return path === undefined ? { host: host ?? DEFAULT_HOST, port: port ?? DEFAULT_PORT } : { path };
}

export function remoteOf(socket: Socket, path: string | undefined): RemoteAddress {
  const address = addressOf(socket.remoteAddress, socket.remotePort, path);
  if (!(socket instanceof TLSSocket)) return { ...address, tlsSubject: undefined };
  const tls = tlsPeer(socket);
  // a certificate that was not verified proves nothing
  return { ...address, tlsSubject: tls.authorized ? tls.subject : undefined, tls };
}

export function localOf(socket: Socket, path: string | undefined): RemoteAddress {
  return addressOf(socket.localAddress, socket.localPort, path);
}

function addressOf(
  address: string | undefined,
  port: number | undefined,
  path: string | undefined,
): RemoteAddress {
  if (path !== undefined) return { address: path, port: 0, family: 'unix' };
  // a socket that is closed already has no addresses: it is unknown, and not local
  if (address === undefined) return { address: '', port: 0, family: 'IPv4' };
  return { address, port: port ?? 0, family: address.includes(':') ? 'IPv6' : 'IPv4' };
}

function tlsPeer(socket: TLSSocket): TlsPeer {
  const { authorized } = socket;
  const error = socket.authorizationError as unknown as string | null; // a string, whatever Node's types say
  const connection = {
    authorized,
    authorizationError: authorized ? undefined : (error ?? undefined),
    protocol: socket.getProtocol() ?? undefined,
  };
  const certificate = socket.getPeerCertificate() as Partial<PeerCertificate> | null;
  if (!certificate?.subject) return connection;
  const { subject, issuer, subjectaltname, fingerprint256, serialNumber, valid_to: validTo } = certificate;
  return {
    ...connection,
    subject: { ...subject },
    issuer: { ...issuer },
    subjectAltName: subjectaltname,
    fingerprint256,
    serialNumber,
    validTo,
  };
}

/** Whether a peer is on this machine: a Unix socket or, if that is trusted, loopback, also as IPv4-mapped IPv6. */
export function isLocal({ address, family }: RemoteAddress, trustLoopback = true): boolean {
  if (family === 'unix') return true;
  if (!trustLoopback) return false;
  if (address === '::1') return true;
  return address.replace(/^::ffff:/i, '').startsWith('127.');
}
