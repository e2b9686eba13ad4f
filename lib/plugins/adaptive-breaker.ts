import type { Clock } from '../protocol/clock.js';

/** Decides whether calls to one server and target are made. */
export interface Breaker {
  /** Whether a call may be made now. */
  allow(): boolean;
  /** A call that was made succeeded. */
  success(): void;
  /** A call that was made failed because of the server. */
  failure(): void;
}

export interface AdaptiveBreakerOptions {
  /** Calls are made while their number is at most this multiple of those that succeeded. Default 2, as in the SRE book. */
  readonly k: number;
  /** Length of the window, in milliseconds. Default 120,000, as in the SRE book. */
  readonly windowMs: number;
  readonly clock: Clock;
  readonly random: () => number;
}

/** Parts of the window: the oldest one is dropped as a whole. */
const BUCKETS = 12;

/**
 * The adaptive throttling of Google's SRE book ("Handling overload"): refuses a call with the probability
 * `(requests - k * accepts) / (requests + 1)` over the window, so that some always go through and notice that the server
 * has recovered. A call counts when it has ended: a burst in flight has not failed.
 */
export class AdaptiveBreaker implements Breaker {
  readonly #requests = new Float64Array(BUCKETS);
  readonly #accepts = new Float64Array(BUCKETS);
  readonly #bucketMs: number;
  /** Number of the current bucket, counted from time 0 of the clock. */
  #current: number;
  #requestSum = 0;
  #acceptSum = 0;

  constructor(private readonly options: AdaptiveBreakerOptions) {
    this.#bucketMs = options.windowMs / BUCKETS;
    this.#current = this.#bucketNow();
  }

  allow(): boolean {
    this.#advance();
    const { k, random } = this.options;
    const excess = this.#requestSum - k * this.#acceptSum;
    if (excess <= 0 || random() >= excess / (this.#requestSum + 1)) return true;
    this.#count(false); // requested, and not accepted
    return false;
  }

  success(): void {
    this.#advance();
    this.#count(true);
  }

  failure(): void {
    this.#advance();
    this.#count(false);
  }

  #count(accepted: boolean): void {
    const index = this.#current % BUCKETS;
    (this.#requests[index] as number) += 1;
    this.#requestSum += 1;
    if (!accepted) return;
    (this.#accepts[index] as number) += 1;
    this.#acceptSum += 1;
  }

  #advance(): void {
    const now = this.#bucketNow();
    const from = Math.max(this.#current, now - BUCKETS);
    for (let bucket = from + 1; bucket <= now; bucket += 1) {
      const index = bucket % BUCKETS;
      this.#requestSum -= this.#requests[index] as number;
      this.#acceptSum -= this.#accepts[index] as number;
      this.#requests[index] = 0;
      this.#accepts[index] = 0;
    }
    this.#current = Math.max(this.#current, now);
  }

  #bucketNow(): number {
    return Math.floor(this.options.clock.now() / this.#bucketMs);
  }
}
