/** How a client reconnects after it lost its server. Times in milliseconds. */
export interface ReconnectOptions {
  /** First upper bound of the delay. Default 50. */
  readonly baseDelayMs: number;
  /** Growth of the bound with each failure. Default 1.6, as gRPC. */
  readonly factor: number;
  /**
   * Highest bound during the first `patientAfterMs` of an outage. Default 750: restarts are short. A server is found a third of that
   * after it listens, on average, and asked 4.6 times a second in an outage of 2 s.
   */
  readonly maxDelayMs: number;
  /** Highest bound in a long outage. Default 10,000. */
  readonly patientDelayMs: number;
  /** When an outage counts as long: time since the server has last answered DECLARE, or was lost after that. Default 10,000. */
  readonly patientAfterMs: number;
  /**
   * A connection that lasted at least this long resets the delay to `baseDelayMs`; one that the server shut down in order does so
   * after `maxDelayMs`. Default 10,000.
   */
  readonly stableAfterMs: number;
  /**
   * Lowest bound while other servers take the calls: all clients of a server lose it at the same moment, and must not come back in
   * one. Default 4000: a tenth of a second gets 2.5 % of them. Twice as long while no server does: all clients may have lost all.
   */
  readonly spreadMs: number;
}

export const DEFAULT_RECONNECT: ReconnectOptions = {
  baseDelayMs: 50,
  factor: 1.6,
  maxDelayMs: 750,
  patientDelayMs: 10_000,
  patientAfterMs: 10_000,
  stableAfterMs: 10_000,
  spreadMs: 4_000,
};

/** If no server can be reached, the servers that are not tried soon are tried over so many times `spreadMs`. */
const OUTAGE_FACTOR = 2;
/** And those that are tried soon over so many times `maxDelayMs`: the first of three is still found as soon as a single server. */
const SOON_FACTOR = 1.5;

/** What is known of the end of a connection, or of a failed attempt. */
export interface Ending {
  /** The server said that it shuts down. */
  readonly isOrderly?: boolean;
  /** Other servers take the calls, or are tried before: nobody waits for this one. */
  readonly hasOthers?: boolean;
  /** No server takes the calls: all clients may have lost all servers, and so come back with all connections. */
  readonly isOutage?: boolean;
  /** Its client has many servers, and so may lose many at the same moment. */
  readonly isOneOfMany?: boolean;
}

const FAILED: Ending = {};

/** Exponential backoff with full jitter: any delay up to the bound, so that clients do not reconnect in step. */
export class Backoff {
  #failures = 0;
  #outageSince: number | undefined;
  #openSince: number | undefined;

  constructor(
    private readonly options: ReconnectOptions,
    private readonly now: () => number,
    private readonly random: () => number = Math.random,
  ) {}

  /** DECLARE was answered. */
  opened(): void {
    this.#openSince = this.now();
  }

  /** The connection was lost, or an attempt failed. Returns the time to wait before the next attempt. */
  nextDelayMs({ isOrderly, hasOthers, isOutage, isOneOfMany } = FAILED): number {
    const { baseDelayMs, factor, maxDelayMs, patientDelayMs, patientAfterMs, stableAfterMs, spreadMs } =
      this.options;
    const now = this.now();
    if (this.#openSince !== undefined) {
      // one that shuts down as soon as it is reached must not be asked without a pause
      const isStable =
        now - this.#openSince >= (isOrderly ? Math.min(maxDelayMs, stableAfterMs) : stableAfterMs);
      if (isStable) this.#failures = 0;
      this.#openSince = undefined;
      this.#outageSince = now;
    }
    this.#outageSince ??= now;
    const cap = now - this.#outageSince < patientAfterMs ? maxDelayMs : patientDelayMs;
    const bound = Math.min(cap, baseDelayMs * factor ** this.#failures);
    this.#failures += 1;
    const least = hasOthers
      ? spreadMs * (isOutage ? OUTAGE_FACTOR : 1)
      : isOneOfMany
        ? maxDelayMs * SOON_FACTOR
        : 0;
    return this.random() * Math.max(bound, least);
  }

  /** The time to wait if the server, one of many, is needed soon, however long it has been gone. */
  soonMs(): number {
    return this.random() * this.options.maxDelayMs * SOON_FACTOR;
  }
}
