import { type Environment, inEnvironment, type ServedWork } from '../nest/lifecycle/environment.js';
import { RapClient } from '../nest/client/rap-client.js';
import type { RapClientOptions } from '../nest/client/client-options.js';
import { RapServer } from '../nest/server/rap-server.js';
import type { RapServerOptions } from '../nest/server/server-options.js';
import { systemClock } from '../rpc/time/system-clock.js';
import { CallOrder } from './call-order.js';
import { ManualClock } from './manual-clock.js';
import { MemoryNetwork } from './memory-network.js';
import { watchWork } from './work.js';

export interface WorldOptions {
  readonly isManual?: boolean;
  /** The address that the server sees of clients. */
  readonly address?: string;
  /** The first connection waits for it. */
  readonly ready?: () => Promise<unknown>;
  /** What it is, for messages on leaks. */
  readonly name: string;
}

const LOOPBACK = '127.0.0.1';
/** The server in messages of clients. */
const HOST = 'test-bed';

/** A network in memory with its clock, in which servers and clients are made. */
export class World {
  readonly network: MemoryNetwork;
  readonly order = new CallOrder();
  readonly manual: ManualClock | undefined;
  readonly #environment: Environment;

  constructor({ isManual = false, address = LOOPBACK, ready, name }: WorldOptions) {
    this.manual = isManual ? new ManualClock() : undefined;
    const clock = this.manual ?? systemClock;
    this.network = new MemoryNetwork({ clock, address, ready });
    const { intercept } = this.order;
    const onWork = (work: ServedWork): void => watchWork(name, work, clock);
    this.#environment = { clock, network: this.network, intercept, onWork };
  }

  /** A server of this world. The machine of a test may be busy: by default, no call is refused for that. */
  server(options: RapServerOptions = {}): RapServer {
    const limits = { maxLoopDelayMs: 0, ...options.limits };
    return new RapServer(inEnvironment(this.#environment, { ...options, limits }));
  }

  client(options: RapClientOptions = {}): RapClient {
    return new RapClient(this.inside(options));
  }

  /** Options of a client of this world. */
  inside(options: RapClientOptions): RapClientOptions {
    const { host, port, path, servers, resolver } = options;
    const isNamed = [host, port, path, servers, resolver].some((each) => each !== undefined);
    return inEnvironment(this.#environment, isNamed ? options : { host: HOST, ...options });
  }
}
