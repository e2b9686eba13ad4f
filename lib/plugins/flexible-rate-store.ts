import type { Rate, RateStore } from './rate-store.js';

/** The part of a limiter of `rate-limiter-flexible` that is used. */
export interface FlexibleLimiter {
  /** Resolves if there are points left; rejects with `{ msBeforeNext }` if not, and with an Error if the store fails. */
  consume(key: string): Promise<unknown>;
}

/**
 * Counts requests with limiters of `rate-limiter-flexible`, on any of its stores. It counts in fixed windows, so twice the
 * points may be used around the end of a window.
 */
export class FlexibleRateStore implements RateStore {
  readonly #limiters = new Map<string, FlexibleLimiter | Promise<FlexibleLimiter>>();

  /** @param limiterOf a limiter for all rules, or a function that makes one for each and applies the rule's rate. */
  constructor(
    private readonly limiterOf:
      FlexibleLimiter | ((rate: Rate) => FlexibleLimiter | Promise<FlexibleLimiter>),
  ) {}

  async take(rate: Rate, key: string): Promise<number> {
    const limiter = await this.#limiter(rate);
    try {
      await limiter.consume(`${rate.name}:${key}`);
      return 0;
    } catch (refused) {
      const waitMs = (refused as { msBeforeNext?: unknown } | null)?.msBeforeNext;
      if (refused instanceof Error || typeof waitMs !== 'number') throw refused;
      return Math.max(1, waitMs);
    }
  }

  #limiter(rate: Rate): FlexibleLimiter | Promise<FlexibleLimiter> {
    if (typeof this.limiterOf === 'object') return this.limiterOf;
    const known = this.#limiters.get(rate.name);
    if (known) return known;
    const limiter = this.limiterOf(rate);
    this.#limiters.set(rate.name, limiter);
    // a limiter that could not be made is tried again
    if (limiter instanceof Promise) limiter.catch(() => this.#limiters.delete(rate.name));
    return limiter;
  }
}
