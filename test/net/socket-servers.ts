import type { AddressInfo } from 'node:net';
import type { Fault } from '../../lib/protocol/fault.js';
import type { Frame } from '../../lib/protocol/frame.js';
import type { LinkReceiver } from '../../lib/protocol/link.js';
import { dial, type DialOptions } from '../../lib/net/dial.js';
import type { SocketLink } from '../../lib/net/socket-link.js';
import { SocketServer, type SocketServerOptions } from '../../lib/net/socket-server.js';
import { systemClock } from '../../lib/rpc/time/system-clock.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { WAIT_TIMEOUT_MS } from '../helpers/timeouts.js';

/** What came over a link, and who waits for it. */
export class LinkLog implements LinkReceiver {
  readonly frames: Frame[] = [];
  readonly faults: Fault[] = [];
  closed = false;
  error: Error | undefined;
  /** What a frame does. */
  react: ((frame: Frame) => void) | undefined;
  #wake: (() => void)[] = [];

  constructor(readonly link: SocketLink) {
    link.start(this);
    link.admit();
  }

  onFrame(frame: Frame): void {
    this.frames.push(frame);
    this.react?.(frame);
    this.#changed();
  }

  onBytes(): void {}

  onDrain(): void {}

  /** As a peer does: a connection whose wire is broken ends. */
  onFault(fault: Fault): void {
    this.faults.push(fault);
    this.link.end();
    this.#changed();
  }

  onClose(error: Error | undefined): void {
    this.closed = true;
    this.error = error;
    this.#changed();
  }

  /** Resolves when `met` holds. */
  async until(met: () => boolean, what = 'what was waited for', timeoutMs = WAIT_TIMEOUT_MS): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (!met()) {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`${what} did not come`)), end - performance.now());
        this.#wake.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  #changed(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

/** A listening server of the net layer whose links are logged. */
export interface LoggedServer {
  readonly server: SocketServer;
  readonly port: number;
  readonly logs: LinkLog[];
  /** The `index`-th connection, now or when it comes. */
  connection(index?: number): Promise<LinkLog>;
  /** Connects to it; closed with it. */
  dial(options?: Partial<DialOptions> & { host?: string }): Promise<LinkLog>;
  close(): Promise<void>;
}

export async function listen(options: Partial<SocketServerOptions> = {}): Promise<LoggedServer> {
  const logs: LinkLog[] = [];
  const clients: LinkLog[] = [];
  const server = new SocketServer({
    endpoint: { host: '127.0.0.1', port: 0 },
    limits: DEFAULT_LIMITS,
    clock: systemClock,
    onLink: (link) => logs.push(new LinkLog(link)),
    onError: () => {},
    ...options,
  });
  const address = await server.listen();
  const { path } = options.endpoint ?? {};
  const port = (address as AddressInfo).port;
  return {
    server,
    port,
    logs,
    async connection(index = 0) {
      for (let i = 0; i < 1000 && logs.length <= index; i++) {
        await new Promise((resolve) => void setTimeout(resolve, 2));
      }
      const log = logs[index];
      if (!log) throw new Error('no such connection came');
      return log;
    },
    async dial({ host = '127.0.0.1', ...dialOptions } = {}) {
      const link = await dial(path === undefined ? { host, port } : { path }, {
        limits: DEFAULT_LIMITS,
        clock: systemClock,
        connectTimeoutMs: 5_000,
        ...dialOptions,
      });
      const log = new LinkLog(link);
      clients.push(log);
      return log;
    },
    async close() {
      for (const { link } of clients) link.destroy();
      await server.close();
    },
  };
}
