import { constants } from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import { nodeAddress, type Endpoint } from './address.js';
import { InputBudget } from './input-budget.js';
import type { Network } from './network.js';
import { openedServer } from './open-handles.js';
import { PendingHandshakes } from './pending-handshakes.js';
import { removeStaleSocket } from './stale-socket.js';
import { SocketLink, type SocketLinkLimits, type SocketLinkOptions } from './socket-link.js';

export interface SocketServerOptions extends Omit<SocketLinkOptions, 'path' | 'budget' | 'onAdmitted'> {
  readonly limits: SocketLinkLimits & {
    readonly maxUnfinishedBytes: number;
    /** Time for a TLS handshake. Node's default of 120 s invites attacks. */
    readonly tlsHandshakeTimeoutMs: number;
    /** Most connections at once that are in a TLS handshake or have not sent DECLARE. */
    readonly maxPendingHandshakes: number;
  };
  readonly endpoint: Endpoint;
  /** Default: that of the machine. */
  readonly network?: Network | undefined;
  readonly tls?: tls.TlsOptions | undefined;
  readonly onLink: (link: SocketLink) => void;
  /** A fault of the listening socket that does not end it, such as too many open files. */
  readonly onError: (error: Error) => void;
  /** Too many connections were not admitted yet: one of them was dropped, without CLOSE. */
  readonly onRefused?: (() => void) | undefined;
}

/** Listens, and wraps each connection in a link. */
export class SocketServer {
  readonly server: net.Server;
  /** All sockets, including those in a TLS handshake. */
  readonly #sockets = new Set<net.Socket>();
  readonly #links = new Set<SocketLink>();
  readonly #pending: PendingHandshakes;
  /** The raw sockets below TLS, by their addresses: Node does not say which TLS socket uses which. */
  readonly #handshaking = new Map<string, net.Socket>();

  constructor(private readonly options: SocketServerOptions) {
    const { limits, tls: tlsOptions, onRefused } = options;
    this.#pending = new PendingHandshakes(limits.maxPendingHandshakes, () => onRefused?.());
    const budget = new InputBudget(limits.maxUnfinishedBytes);
    const accept = (socket: net.Socket): void => this.#accept(socket, budget);
    this.server = tlsOptions
      ? tls.createServer(
          withoutRenegotiation({
            minVersion: 'TLSv1.2',
            handshakeTimeout: limits.tlsHandshakeTimeoutMs,
            ...tlsOptions,
          }),
          accept,
        )
      : net.createServer(accept);
    this.server.prependListener('connection', (socket: net.Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      if (tlsOptions) this.#handshakes(socket);
      else this.#pending.add(socket);
    });
    // a failed handshake concerns only its client
    this.server.on('tlsClientError', (_error: Error, socket: tls.TLSSocket) => socket.destroy());
  }

  #accept(socket: net.Socket, budget: InputBudget): void {
    let pending = socket;
    if (socket instanceof tls.TLSSocket) {
      const raw = this.#handshaking.get(addressesOf(socket));
      if (raw) pending = raw;
      else this.#pending.add(socket);
    }
    const link = new SocketLink(socket, {
      ...this.options,
      path: this.options.endpoint.path,
      budget,
      onAdmitted: () => this.#pending.done(pending),
    });
    this.#links.add(link);
    socket.once('close', () => this.#links.delete(link));
    this.options.onLink(link);
  }

  /** Unix sockets have no addresses: with TLS, they count from the end of their handshake. */
  #handshakes(socket: net.Socket): void {
    if (socket.remotePort === undefined) return;
    const addresses = addressesOf(socket);
    this.#handshaking.set(addresses, socket);
    socket.once('close', () => {
      if (this.#handshaking.get(addresses) === socket) this.#handshaking.delete(addresses);
    });
    this.#pending.add(socket);
  }

  /**
   * The file of a Unix socket without a listener is removed.
   *
   * @throws Error with Node's code (`EADDRINUSE`, `EACCES`, ...) if it cannot listen on the address
   */
  async listen(): Promise<net.AddressInfo | string> {
    const { network, endpoint } = this.options;
    if (network) return network.listen(this.server, endpoint);
    try {
      return await this.#listen();
    } catch (error) {
      const { path } = endpoint;
      if (path === undefined || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      if (!(await removeStaleSocket(path))) throw error;
      return this.#listen();
    }
  }

  #listen(): Promise<net.AddressInfo | string> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(nodeAddress(this.options.endpoint), () => {
        this.server.off('error', reject);
        this.server.on('error', this.options.onError);
        openedServer(this.server);
        resolve(this.server.address() as net.AddressInfo | string);
      });
    });
  }

  /**
   * Uses this certificate for new connections; open ones keep theirs.
   *
   * @throws Error if the server does not use TLS, or the options have no matching certificate and key; then nothing changes
   */
  setSecureContext(options: tls.SecureContextOptions): void {
    if (!(this.server instanceof tls.Server)) throw new Error('the server speaks no TLS');
    this.server.setSecureContext(withoutRenegotiation({ minVersion: 'TLSv1.2', ...options }));
  }

  /** Accepts no more connections; open ones stay. */
  stopListening(): void {
    this.options.network?.stop(this.server);
    if (this.server.listening) this.server.close();
  }

  /**
   * Waits until connections that this side has ended are closed: what was sent last has been written then, or the peer has
   * not taken it in time.
   */
  async flushed(): Promise<void> {
    const ending = Array.from(this.#links).filter(({ isEnding }) => isEnding);
    await Promise.all(ending.map((link) => closeOf(link.unwrap())));
  }

  /** Waits for connections that have been ended, destroys all others and waits until all are closed. */
  async close(): Promise<void> {
    this.stopListening();
    const gone = Array.from(this.#sockets, closeOf);
    for (const link of this.#links) if (!link.isEnding) link.destroy();
    await this.flushed();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(gone);
  }
}

function closeOf(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });
}

function addressesOf({ remoteAddress, remotePort, localAddress }: net.Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`;
}

/** TLS 1.2 lets a client ask for new handshakes again and again, at no cost for the client. */
function withoutRenegotiation<T extends tls.SecureContextOptions>(options: T): T {
  return { ...options, secureOptions: (options.secureOptions ?? 0) | constants.SSL_OP_NO_RENEGOTIATION };
}

/** @throws TypeError if a TLS server has no certificate, and every handshake would fail */
export function assertIdentity({ key, cert, pfx, SNICallback, pskCallback, ciphers }: tls.TlsOptions): void {
  const hasCertificate = pfx !== undefined || (key !== undefined && cert !== undefined);
  // own ciphers may include some that need no certificate
  if (hasCertificate || SNICallback || pskCallback || ciphers !== undefined) return;
  throw new TypeError('tls needs key and cert, or pfx');
}

/**
 * The options of a server with another certificate: the old one is removed, in whichever form it was given.
 *
 * @throws TypeError if only a key or only a certificate is given
 */
export function withIdentity(before: tls.TlsOptions, options: tls.SecureContextOptions): tls.TlsOptions {
  const { key, cert, pfx } = options;
  const merged = { ...before, ...options };
  if (key === undefined && cert === undefined && pfx === undefined) return merged;
  // Node prefers a pfx to key and cert
  if (pfx === undefined) delete merged.pfx;
  else Object.assign(merged, { key, cert });
  assertIdentity(merged);
  return merged;
}

/** @throws Error if the options are not a valid TLS context, as with a key that does not match the certificate */
export function assertSecureContext(options: tls.SecureContextOptions): void {
  tls.createSecureContext(options);
}
