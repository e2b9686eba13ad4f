import { assertKnown, type Keys } from '../nest/validation/known-options.js';
import { CloseReason } from '../protocol/event.js';
import { ConnectionMiddleware, type RapConnection } from '../pipeline/api.js';
import { CONN_STORE_OPTIONS, ConnGate, type ConnStoreOptions } from './conn-gate.js';
import { atLeast, positive } from './plugin-options.js';

export interface ConnLimitOptions extends ConnStoreOptions {
  /** Connections at once, of the server or of all servers that share the store. Default 1024, as Python's rap. */
  maxConnections?: number | undefined;
  /**
   * Time after an excess in which no new connection is admitted, in milliseconds, even if there is a place again.
   * Default 0: only the excess is refused. (rap's `block_time`.)
   */
  blockTimeMs?: number | undefined;
  /** Time after which a shared store frees the places of a server that crashed, in milliseconds. Default 30,000. */
  leaseMs?: number | undefined;
  /** Key of the limit in a shared store. Default `all`. */
  name?: string | undefined;
}

const OPTIONS: Keys<ConnLimitOptions> = {
  ...CONN_STORE_OPTIONS,
  maxConnections: true,
  blockTimeMs: true,
  leaseMs: true,
  name: true,
};

/**
 * Limits the connections of a server, or of several that share a store. Excess connections get CLOSE with rap's reason and
 * are closed; open ones stay.
 */
export class ConnLimitMiddleware extends ConnectionMiddleware {
  readonly #gate: ConnGate;
  readonly #key: string;

  /** @throws RangeError for an option that is out of range. */
  constructor(options: ConnLimitOptions = {}) {
    super();
    assertKnown('ConnLimitMiddleware', options, OPTIONS);
    const { maxConnections = 1024, blockTimeMs = 0, leaseMs = 30_000, name = 'all' } = options;
    this.#key = name;
    const limit = {
      maxConnections: atLeast(0, 'maxConnections', maxConnections),
      blockTimeMs: atLeast(0, 'blockTimeMs', blockTimeMs),
      leaseMs: positive('leaseMs', leaseMs),
    };
    this.#gate = new ConnGate('ConnLimitMiddleware', limit, options);
  }

  override use(connection: RapConnection, next: () => Promise<void>): Promise<void> {
    return this.#gate.admit(this.#key, connection, next, CloseReason.TooManyConnections);
  }

  override onServerStop(): Promise<void> {
    return this.#gate.flush();
  }
}
