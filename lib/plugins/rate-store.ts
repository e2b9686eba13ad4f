import type { Clock } from '../protocol/clock.js';

/** How often something may happen. */
export interface Rate {
  /** Name of the rule: its keys are apart from those of other rules. */
  readonly name: string;
  /** Requests a second in the long run. */
  readonly rate: number;
  /** Requests at once. */
  readonly burst: number;
  /** Time after an excess in which the key gets nothing, in milliseconds. */
  readonly blockTimeMs: number;
}

/** Counts requests. A shared store rejects where it is down. */
export interface RateStore {
  /** Counts one request of the key: 0 where it may go on, else the time to wait in milliseconds. */
  take(rate: Rate, key: string): number | Promise<number>;
  /** Before the server listens. A throw aborts its start: for what is wrong for good, not for a store that is down. */
  onServerStart?(): Promise<void>;
}

interface Bucket {
  tokens: number;
  filledAt: number;
  blockedUntil: number;
}

/** Token buckets in this process: so many at most, those that were used last. */
export class MemoryRateStore implements RateStore {
  /** In the order of their last use. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(
    private readonly clock: Clock,
    private readonly maxKeys: number,
  ) {}

  get size(): number {
    return this.#buckets.size;
  }

  take({ name, rate, burst, blockTimeMs }: Rate, key: string): number {
    const now = this.clock.now();
    const bucket = this.#touch(`${name} ${key}`, burst, now);
    if (now < bucket.blockedUntil) return bucket.blockedUntil - now;
    bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.filledAt) / 1000) * rate);
    bucket.filledAt = now;
    if (bucket.tokens >= 1) {
      bucket.tokens -= 1;
      return 0;
    }
    if (blockTimeMs > 0) bucket.blockedUntil = now + blockTimeMs;
    return Math.max(blockTimeMs, ((1 - bucket.tokens) / rate) * 1000);
  }

  #touch(key: string, burst: number, now: number): Bucket {
    const known = this.#buckets.get(key);
    if (known) this.#buckets.delete(key);
    else if (this.#buckets.size >= this.maxKeys) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest);
        break;
      }
    }
    const bucket = known ?? { tokens: burst, filledAt: now, blockedUntil: 0 };
    this.#buckets.set(key, bucket);
    return bucket;
  }
}
