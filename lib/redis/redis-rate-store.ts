import { FlexibleRateStore } from '../plugins/flexible-rate-store.js';
import type { Rate } from '../plugins/rate-store.js';
import type { RedisClient } from './redis-script.js';

export interface RedisRateStoreOptions {
  /** Prefix of all keys. Default `rap:rate`. */
  prefix?: string | undefined;
}

/**
 * Counts requests for all servers that use the same Redis, with `RateLimiterRedis` of `rate-limiter-flexible`, an optional
 * peer. It counts in windows of whole seconds: the shortest one in which the rate allows the burst.
 */
export class RedisRateStore extends FlexibleRateStore {
  /** @param redis an ioredis instance, which stays yours. */
  constructor(redis: RedisClient, { prefix = 'rap:rate' }: RedisRateStoreOptions = {}) {
    super(async (rate) => {
      const { RateLimiterRedis } = await loadLibrary();
      return new RateLimiterRedis({
        storeClient: redis,
        keyPrefix: `${prefix}:${rate.name}`,
        ...windowOf(rate),
      });
    });
  }

  /** @throws Error if `rate-limiter-flexible` is not installed. */
  async onServerStart(): Promise<void> {
    await loadLibrary();
  }
}

/** The library lets keys expire after whole seconds, and those of a shorter window never. */
function windowOf({ rate, burst, blockTimeMs }: Rate): {
  points: number;
  duration: number;
  blockDuration: number;
} {
  const duration = Math.ceil(burst / rate);
  return { points: Math.floor(rate * duration), duration, blockDuration: Math.ceil(blockTimeMs / 1000) };
}

async function loadLibrary(): Promise<typeof import('rate-limiter-flexible')> {
  try {
    return await import('rate-limiter-flexible');
  } catch (error) {
    throw new Error(
      'RedisRateStore needs the package rate-limiter-flexible: npm install rate-limiter-flexible',
      {
        cause: error,
      },
    );
  }
}
