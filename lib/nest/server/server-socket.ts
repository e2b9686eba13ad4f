import type { AddressInfo, Server as NetServer } from 'node:net';
import type { SecureContextOptions, TlsOptions } from 'node:tls';
import {
  assertIdentity,
  assertSecureContext,
  SocketServer,
  type SocketServerOptions,
  withIdentity,
} from '../../net/socket-server.js';

/** The socket that a server listens on, over restarts, with the TLS identity that it has now. */
export class ServerSocket {
  #tls: TlsOptions | undefined;
  #open: SocketServer | undefined;

  constructor(private readonly options: SocketServerOptions) {
    this.#tls = options.tls;
  }

  /** Node's server; `undefined` before `listen` and after `close`. */
  get server(): NetServer | undefined {
    return this.#open?.server;
  }

  /** @throws Error if TLS has no certificate */
  assertIdentity(): void {
    if (this.#tls) assertIdentity(this.#tls);
  }

  async listen(): Promise<AddressInfo | string> {
    const socket = new SocketServer({ ...this.options, tls: this.#tls });
    const address = await socket.listen();
    this.#open = socket;
    return address;
  }

  /** @throws Error if there is no `tls`, or key and certificate do not fit; then nothing changes */
  setSecureContext(options: SecureContextOptions): void {
    if (!this.#tls) throw new Error('the server speaks no TLS: give it the option tls');
    const tls = withIdentity(this.#tls, options);
    assertSecureContext(tls);
    this.#open?.setSecureContext(tls);
    this.#tls = tls;
  }

  stopListening(): void {
    this.#open?.stopListening();
  }

  async flushed(): Promise<void> {
    await this.#open?.flushed();
  }

  async close(): Promise<void> {
    await this.#open?.close();
    this.#open = undefined;
  }
}
