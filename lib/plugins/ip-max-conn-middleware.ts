import { assertKnown, type Keys } from '../nest/validation/known-options.js';
import { CloseReason } from '../protocol/event.js';
import { ConnectionMiddleware, type RapConnection } from '../pipeline/api.js';
import { CONN_STORE_OPTIONS, ConnGate, type ConnStoreOptions } from './conn-gate.js';
import { normalAddress } from './ip-range.js';
import { atLeast, positive } from './plugin-options.js';

export interface IpMaxConnOptions extends ConnStoreOptions {
  /** Connections at once of one address. Default 128, rap's own. */
  maxConnections?: number | undefined;
  /**
   * Time after which a shared store forgets the connections of a server that crashed, in milliseconds. Default 180,000,
   * rap's own. In memory nothing needs to be forgotten: connections are counted exactly.
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
 * Bounds the connections of each address. The excess gets CLOSE with rap's reason and is gone; connections that are
 * open stay. An IPv4 address counts as itself however it came. Unix sockets have no address and are not bound.
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
