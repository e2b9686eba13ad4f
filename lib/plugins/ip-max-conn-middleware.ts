import { assertKnown, type Keys } from '../nest/validation/known-options.js';
import { CloseReason } from '../protocol/event.js';
import { ConnectionMiddleware, type RapConnection } from '../pipeline/api.js';
import { CONN_STORE_OPTIONS, ConnGate, type ConnStoreOptions } from './conn-gate.js';
import { normalAddress } from './ip-range.js';
import { atLeast, positive } from './plugin-options.js';

export interface IpMaxConnOptions extends ConnStoreOptions {
  /** Connections at once of one address. Default 128, as Python's rap. */
  maxConnections?: number | undefined;
  /**
   * Time after which a shared store frees the places of a server that crashed, in milliseconds. Default 180,000, as Python's
   * rap. Without effect in memory: there, connections are counted exactly.
   */
  timeoutMs?: number | undefined;
  /** Time after an excess in which the address gets no new connection, in milliseconds. Default 0: only the excess is refused. */
  blockTimeMs?: number | undefined;
}

const OPTIONS: Keys<IpMaxConnOptions> = {
  ...CONN_STORE_OPTIONS,
  maxConnections: true,
  timeoutMs: true,
  blockTimeMs: true,
};

/**
 * Limits the connections of each address. Excess connections get CLOSE with rap's reason and are closed; open ones stay. An
 * IPv4 address that came as IPv6 counts as itself. Unix sockets have no address and are not limited.
 */
export class IpMaxConnMiddleware extends ConnectionMiddleware {
  readonly #gate: ConnGate;

  /** @throws RangeError for an option that is out of range. */
  constructor(options: IpMaxConnOptions = {}) {
    super();
    assertKnown('IpMaxConnMiddleware', options, OPTIONS);
    const { maxConnections = 128, blockTimeMs = 0, timeoutMs = 180_000 } = options;
    const limit = {
      maxConnections: atLeast(0, 'maxConnections', maxConnections),
      blockTimeMs: atLeast(0, 'blockTimeMs', blockTimeMs),
      leaseMs: positive('timeoutMs', timeoutMs),
    };
    this.#gate = new ConnGate('IpMaxConnMiddleware', limit, options);
  }

  override use(connection: RapConnection, next: () => Promise<void>): Promise<void> {
    const { address, family } = connection.peer;
    if (family === 'unix') return next();
    return this.#gate.admit(
      `ip:${normalAddress(address)}`,
      connection,
      next,
      CloseReason.TooManyConnectionsOfAddress,
    );
  }

  override onServerStop(): Promise<void> {
    return this.#gate.flush();
  }
}
