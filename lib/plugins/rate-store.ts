import type { Clock } from '../protocol/clock.js';

/** The rate that a rule allows. */
export interface Rate {
  /** Name of the rule: rules do not share keys. */
  readonly name: string;
  /** Requests per second on average. */
  readonly rate: number;
  /** Requests at once. */
  readonly burst: number;
  /** Time after an excess in which all requests of the key are refused, in milliseconds. */
  readonly blockTimeMs: number;
}

/** Counts requests. A shared store rejects if it is down. */
export interface RateStore {
  /** Counts one request of the key. @returns 0 if it may go on, else the time to wait in milliseconds */
  take(rate: Rate, key: string): number | Promise<number>;
  /** Called before the server listens. A throw aborts its start: only for permanent errors, not if the store is down. */
  onServerStart?(): Promise<void>;
}

interface Bucket {
  tokens: number;
  filledAt: number;
  blockedUntil: number;
}

/** Token buckets in this process, limited in number: those used last are kept. */
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
