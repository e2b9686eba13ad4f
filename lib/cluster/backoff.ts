/** How a client reconnects after it lost its server. Times in milliseconds. */
export interface ReconnectOptions {
  /** First upper bound of the delay. Default 50. */
  readonly baseDelayMs: number;
  /** Growth of the bound with each failure. Default 1.6, as gRPC. */
  readonly factor: number;
  /** Highest bound during the first `patientAfterMs` of an outage. Default 1000: restarts are short. */
  readonly maxDelayMs: number;
  /** Highest bound in a long outage. Default 10,000. */
  readonly patientDelayMs: number;
  /** When an outage counts as long. Default 10,000. */
  readonly patientAfterMs: number;
  /**
   * A connection that lasted at least this long resets the delay to `baseDelayMs`. Default 10,000. A shorter one that lasted
   * longer than `maxDelayMs` keeps the delay, but ends the outage: the next one counts as short again.
   */
  readonly stableAfterMs: number;
}

export const DEFAULT_RECONNECT: ReconnectOptions = {
  baseDelayMs: 50,
  factor: 1.6,
  maxDelayMs: 1_000,
  patientDelayMs: 10_000,
  patientAfterMs: 10_000,
  stableAfterMs: 10_000,
};

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

  opened(): void {
    this.#openSince = this.now();
  }

  /** The connection was lost, or an attempt failed. Returns the time to wait before the next attempt. */
  nextDelayMs(): number {
    const { baseDelayMs, factor, maxDelayMs, patientDelayMs, patientAfterMs, stableAfterMs } = this.options;
    const now = this.now();
    if (this.#openSince !== undefined) {
      const openMs = now - this.#openSince;
      if (openMs >= stableAfterMs) this.#failures = 0;
      // a connection that is dropped at once does not end an outage; one that outlasts the longest short delay does
      if (openMs >= Math.min(stableAfterMs, maxDelayMs)) this.#outageSince = now;
      this.#openSince = undefined;
    }
    this.#outageSince ??= now;
    const cap = now - this.#outageSince < patientAfterMs ? maxDelayMs : patientDelayMs;
    const bound = Math.min(cap, baseDelayMs * factor ** this.#failures);
    this.#failures += 1;
    return this.random() * bound;
  }
}
