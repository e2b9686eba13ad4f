import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';

/** Passes connections on to a server, and breaks them when it is told to. */
export class ResetProxy {
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #cutsNext = false;

  private constructor(
    private readonly server: net.Server,
    private readonly target: { readonly port: number },
  ) {}

  static async start(target: { readonly port: number }): Promise<ResetProxy> {
    const server = net.createServer().listen(0, '127.0.0.1');
    const proxy = new ResetProxy(server, target);
    server.on('connection', (socket) => proxy.#accept(socket));
    await once(server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Resets all connections. */
  reset(): void {
    for (const pair of this.#pairs) this.#break(pair);
  }

  /** Passes on half of the next chunk of the server, then resets its connection: a frame may be cut. */
  cut(): void {
    this.#cutsNext = true;
  }

  async close(): Promise<void> {
    this.reset();
    this.server.close();
    await once(this.server, 'close');
  }

  #accept(client: Socket): void {
    const server = net.connect({ port: this.target.port, host: '127.0.0.1', noDelay: true });
    const pair = [client, server] as const;
    this.#pairs.add(pair);
    client.setNoDelay(true);
    client.on('data', (chunk) => this.#pass(chunk, client, server));
    server.on('data', (chunk) => {
      const cuts = this.#cutsNext;
      this.#cutsNext = false;
      this.#pass(cuts ? chunk.subarray(0, chunk.length / 2) : chunk, server, client);
      if (cuts) client.end(() => this.#break(pair));
    });
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      to.on('drain', () => from.resume());
      from.on('end', () => to.end());
      from.on('error', () => this.#break(pair));
      from.on('close', () => this.#break(pair));
    }
  }

  #pass(chunk: Buffer, from: Socket, to: Socket): void {
    if (to.writable && !to.write(chunk)) from.pause();
  }

  #break(pair: readonly [Socket, Socket]): void {
    if (!this.#pairs.delete(pair)) return;
    for (const socket of pair) if (!socket.destroyed) socket.resetAndDestroy();
  }
}
