import { SlidingSum } from '../../rpc/time/sliding-sum.js';

/** Parts of the window: the oldest one is forgotten as a whole. */
const BUCKETS = 10;
const BUCKET_MS = 1000;
export const BUDGET_WINDOW_SECONDS = (BUCKETS * BUCKET_MS) / 1000;
/** Sums of fractions such as 0.2 miss a whole number by less. */
const EPSILON = 1e-9;

/** How many repeats of calls a client may add to what it sends. */
export interface RetryBudgetOptions {
  /** Repeats per call. Default 0.2, as Finagle: if all servers fail, they get at most 1.2 times the calls. */
  readonly ratio: number;
  /**
   * Repeats per second that a client has at least, however few its calls. Default 10, as Finagle. They do not come on top of `ratio`:
   * from 50 calls a second on, `ratio` alone counts.
   */
  readonly perSecond: number;
}

export const DEFAULT_BUDGET: RetryBudgetOptions = { ratio: 0.2, perSecond: 10 };

/**
 * Limits retries and hedges: those of the last 10 seconds are at most `ratio` of its calls, or 10 times `perSecond` if that is more.
 * That many may come at once, as when a server dies with calls in flight.
 */
export class RetryBudget {
  readonly #calls: SlidingSum;
  readonly #taken: SlidingSum;
  readonly #least: number;

  constructor(
    private readonly options: RetryBudgetOptions,
    private readonly now: () => number,
  ) {
    this.#least = options.perSecond * BUDGET_WINDOW_SECONDS;
    this.#calls = new SlidingSum(BUCKETS, BUCKET_MS, now());
    this.#taken = new SlidingSum(BUCKETS, BUCKET_MS, now());
  }

  /** A call begins: its first attempt. */
  called(now = this.now()): void {
    this.#calls.add(now);
  }

  /** Whether `take` would succeed. */
  hasRoom(now = this.now()): boolean {
    const most = Math.max(this.options.ratio * this.#calls.at(now), this.#least);
    return this.#taken.at(now) + 1 <= most + EPSILON;
  }

  /** Takes the place of one retry or hedge; false if there is none. */
  take(now = this.now()): boolean {
    if (!this.hasRoom(now)) return false;
    this.#taken.add(now);
    return true;
  }
}
