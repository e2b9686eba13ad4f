import type { Clock } from '../protocol/clock.js';
import { SlidingSum } from '../rpc/time/sliding-sum.js';

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
  readonly #requests: SlidingSum;
  readonly #accepts: SlidingSum;

  constructor(private readonly options: AdaptiveBreakerOptions) {
    const bucketMs = options.windowMs / BUCKETS;
    const now = options.clock.now();
    this.#requests = new SlidingSum(BUCKETS, bucketMs, now);
    this.#accepts = new SlidingSum(BUCKETS, bucketMs, now);
  }

  allow(): boolean {
    const { k, random, clock } = this.options;
    const now = clock.now();
    const requests = this.#requests.at(now);
    const excess = requests - k * this.#accepts.at(now);
    if (excess <= 0 || random() >= excess / (requests + 1)) return true;
    this.#requests.add(now); // requested, and not accepted
    return false;
  }

  success(): void {
    const now = this.options.clock.now();
    this.#requests.add(now);
    this.#accepts.add(now);
  }

  failure(): void {
    this.#requests.add(this.options.clock.now());
  }
}
