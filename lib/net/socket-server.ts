import net from 'node:net';
import tls from 'node:tls';
import { nodeAddress, type Endpoint } from './address.js';
import { InputBudget } from './input-budget.js';
import { SocketLink, type SocketLinkLimits, type SocketLinkOptions } from './socket-link.js';

export interface SocketServerOptions extends Omit<SocketLinkOptions, 'path' | 'budget'> {
  readonly limits: SocketLinkLimits & {
    readonly maxUnfinishedBytes: number;
    /** Time for a TLS handshake. Node's own 120 s is an invitation. */
    readonly tlsHandshakeTimeoutMs: number;
    /** TLS handshakes at once. */
    readonly maxPendingHandshakes: number;
  };
  readonly endpoint: Endpoint;
  readonly tls?: tls.TlsOptions | undefined;
  readonly onLink: (link: SocketLink) => void;
  /** A fault of the listening socket that does not end it, such as too many open files. */
  readonly onError: (error: Error) => void;
}

/** Listens, and makes a link of each connection. */
export class SocketServer {
  readonly server: net.Server;
  /** All sockets, those that are in a TLS handshake too. */
  readonly #sockets = new Set<net.Socket>();
  /** TLS handshakes that are under way. */
  #handshakes = 0;

  constructor(private readonly options: SocketServerOptions) {
    const budget = new InputBudget(options.limits.maxUnfinishedBytes);
    const accept = (socket: net.Socket): void => {
      const link = new SocketLink(socket, { ...options, path: options.endpoint.path, budget });
      options.onLink(link);
    };
    this.server = options.tls
      ? tls.createServer(
          { minVersion: 'TLSv1.2', handshakeTimeout: options.limits.tlsHandshakeTimeoutMs, ...options.tls },
          accept,
        )
      : net.createServer(accept);
    this.server.on('connection', (socket: net.Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    if (options.tls) this.#boundHandshakes(options.limits.maxPendingHandshakes);
  }

  /** Each handshake ends in one of two events. What is too many at once goes without a word: nothing can be said yet. */
  #boundHandshakes(most: number): void {
    this.server.on('connection', (socket: net.Socket) => {
      this.#handshakes += 1;
      if (Math.min(this.#handshakes, this.#sockets.size) > most) socket.destroy();
    });
    this.server.on('secureConnection', () => (this.#handshakes -= 1));
    // a failed handshake has closed its socket; that one client learns of it is enough
    this.server.on('tlsClientError', (_error: Error, socket: tls.TLSSocket) => {
      this.#handshakes -= 1;
      socket.destroy();
    });
  }

  /** @throws Error with Node's code (`EADDRINUSE`, `EACCES`, ...) where the address cannot be had. */
  listen(): Promise<net.AddressInfo | string> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(nodeAddress(this.options.endpoint), () => {
        this.server.off('error', reject);
        this.server.on('error', this.options.onError);
        resolve(this.server.address() as net.AddressInfo | string);
      });
    });
  }

  /**
   * Serves new connections with this certificate; those that are open go on with theirs.
   *
   * @throws Error where the server speaks no TLS, or the options hold no certificate and key that fit; then nothing changes
   */
  setSecureContext(options: tls.SecureContextOptions): void {
    if (!(this.server instanceof tls.Server)) throw new Error('the server speaks no TLS');
    this.server.setSecureContext({ minVersion: 'TLSv1.2', ...options });
  }

  /** Accepts no more connections; those that are open go on. */
  stopListening(): void {
    if (this.server.listening) this.server.close();
  }

  /** Destroys every connection that is still open and waits until all are gone. */
  async close(): Promise<void> {
    this.stopListening();
    const gone = Array.from(
      this.#sockets,
      (socket) => new Promise((resolve) => socket.once('close', resolve)),
    );
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(gone);
  }
}

/** @throws TypeError where a TLS server has nothing to show, and every handshake would fail */
export function assertIdentity({ key, cert, pfx, SNICallback, pskCallback, ciphers }: tls.TlsOptions): void {
  const hasCertificate = pfx !== undefined || (key !== undefined && cert !== undefined);
  // with ciphers of one's own, there may be those that need no certificate
  if (hasCertificate || SNICallback || pskCallback || ciphers !== undefined) return;
  throw new TypeError('tls needs key and cert, or pfx');
}

/**
 * The options of a server with another certificate: the old one goes, in whichever form it was given.
 *
 * @throws TypeError where half of it is given, and the other half is not there
 */
export function withIdentity(before: tls.TlsOptions, options: tls.SecureContextOptions): tls.TlsOptions {
  const { key, cert, pfx } = options;
  const merged = { ...before, ...options };
  if (key === undefined && cert === undefined && pfx === undefined) return merged;
  // Node goes on to show what is in a pfx, whatever else there is
  if (pfx === undefined) delete merged.pfx;
  else Object.assign(merged, { key, cert });
  assertIdentity(merged);
  return merged;
}

/** @throws Error where the options make no TLS context, as with a key that does not fit the certificate */
export function assertSecureContext(options: tls.SecureContextOptions): void {
  tls.createSecureContext(options);
}
