import type { Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** A prober is a program beside the process: one that needs longer, or more, is not served. */
const REQUEST_MS = 2000;
const MAX_CONNECTIONS = 64;
const MAX_HEADER_BYTES = 4096;

export interface ProbeServerOptions {
  /** Whose option the port is, for messages. */
  readonly name: string;
  readonly host?: string | undefined;
  readonly port: number;
  /** Why the process is not ready; empty if it is. Must not throw. */
  readonly reasons: () => readonly string[];
}

/**
 * Answers `/livez` and `/readyz` over HTTP, for Kubernetes and load balancers. It does not keep the process alive, and loads Node's
 * `http` only if it is used.
 */
export class ProbeServer {
  #server: Server | undefined;

  constructor(private readonly options: ProbeServerOptions) {}

  /** @throws Error that names option and port if it cannot listen */
  async listen(): Promise<void> {
    const { name, host, port } = this.options;
    const { createServer } = await import('node:http');
    const server = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: REQUEST_MS,
        requestTimeout: REQUEST_MS,
        connectionsCheckingInterval: REQUEST_MS / 2,
      },
      ({ method, url }, response) => {
        const { status, body } = this.#answer(method, url);
        const content = JSON.stringify(body);
        response.writeHead(status, {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(content),
          'cache-control': 'no-store',
          connection: 'close',
        });
        response.end(method === 'HEAD' ? undefined : content);
      },
    );
    server.maxConnections = MAX_CONNECTIONS;
    // a reader that does not read, and a request whose body never ends
    server.setTimeout(REQUEST_MS);
    server.on('connection', (socket: Socket) => socket.unref());
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) =>
        reject(new Error(`${name}: port ${port} cannot be listened on: ${error.message}`, { cause: error })),
      );
      server.listen({ port, host }, resolve);
    });
    server.on('error', () => {}); // of accepting: the next probe tries again
    server.unref();
    this.#server = server;
  }

  /** Where it listens, or `null` if it does not. */
  address(): AddressInfo | null {
    return (this.#server?.address() ?? null) as AddressInfo | null;
  }

  /** May be called at any time, and twice. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }

  #answer(method = '', url = ''): { readonly status: number; readonly body: object } {
    const path = url.split('?')[0];
    if (path !== '/livez' && path !== '/readyz') return { status: 404, body: { status: 'not found' } };
    if (method !== 'GET' && method !== 'HEAD') return { status: 405, body: { status: 'method not allowed' } };
    const reasons = path === '/livez' ? [] : this.options.reasons();
    if (reasons.length === 0) return { status: 200, body: { status: 'ok' } };
    return { status: 503, body: { status: 'not ready', reasons } };
  }
}
