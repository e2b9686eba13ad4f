/** How a client comes back after it lost its server. Times in milliseconds. */
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
   * A connection that lasted so long resets the delay to `baseDelayMs`. Default 10,000. One that was shorter, but lasted
   * longer than `maxDelayMs`, ends the outage before it all the same: the next one is short again, with its lower bound.
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

/** Exponential backoff with full jitter: any delay up to the bound, so that no two clients come back in step. */
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
      // a server that takes connections only to drop them is not back; one that lasts longer than the client waits at most is
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
