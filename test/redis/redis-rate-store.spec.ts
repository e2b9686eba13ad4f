import type { Redis } from 'ioredis';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { FlexibleRateStore } from '../../lib/plugins/flexible-rate-store.js';
import type { Rate, RateStore } from '../../lib/plugins/rate-store.js';
import { RedisRateStore } from '../../lib/redis/redis-rate-store.js';
import { describeWithRedis, TestRedis, useRedis } from './redis.js';

const RATE: Rate = { name: 'r', rate: 0.01, burst: 3, blockTimeMs: 0 };

async function take(store: RateStore, rate: Rate, key: string, times: number): Promise<number[]> {
  return Promise.all(Array.from({ length: times }, async () => store.take(rate, key)));
}

describeWithRedis('RedisRateStore', () => {
  let redis: TestRedis;
  let client: Redis;
  useRedis((...its) => ([redis, client] = its));

  it('counts what all servers let through together', async () => {
    const [one, two] = [new RedisRateStore(client), new RedisRateStore(redis.client())];
    const waits = (await Promise.all([take(one, RATE, 'a', 4), take(two, RATE, 'a', 4)])).flat();
    expect(waits.filter((waitMs) => waitMs === 0)).toHaveLength(3);
    for (const waitMs of waits) expect(waitMs >= 0 && waitMs <= 300_000).toBe(true);
    expect(await one.take(RATE, 'b')).toBe(0);
    expect(await one.take({ ...RATE, name: 's' }, 'a')).toBe(0);
  });

  it.each([
    [{ rate: 100, burst: 10 }, 100, 1000],
    [{ rate: 2, burst: 5 }, 6, 3000],
    [{ rate: 0.5, burst: 1 }, 1, 2000],
  ])('%j is a window', async (rate, points, windowMs) => {
    const store = new RedisRateStore(client);
    const waits = await take(store, { ...RATE, ...rate }, 'a', points + 1);
    expect(waits.filter((waitMs) => waitMs === 0)).toHaveLength(points);
    expect(Math.max(...waits) <= windowMs).toBe(true);
    for (const key of await client.keys('*')) expect(await client.pttl(key)).toBeGreaterThan(0);
  });

  it('blocks for the block time', async () => {
    const store = new RedisRateStore(client);
    const rate = { name: 'blocked', rate: 10, burst: 1, blockTimeMs: 60_000 };
    const waits = await take(store, rate, 'a', 11);
    expect(waits.at(-1)).toBe(60_000);
    const [key] = await client.keys('*');
    expect(await client.pttl(key as string)).toBeGreaterThan(50_000);
  });

  it('rejects if Redis is down', async () => {
    const own = await TestRedis.start();
    try {
      const store = new RedisRateStore(own.client({ maxRetriesPerRequest: 0 }));
      await store.onServerStart();
      expect(await store.take(RATE, 'a')).toBe(0);
      await own.down();
      await expect(store.take(RATE, 'a')).rejects.toThrow('max retries');
    } finally {
      await own.end();
    }
  });
});

it('takes any limiter of rate-limiter-flexible', async () => {
  const store = new FlexibleRateStore(new RateLimiterMemory({ points: 2, duration: 60 }));
  const waits = [await store.take(RATE, 'a'), await store.take(RATE, 'a'), await store.take(RATE, 'a')];
  expect(waits.map((waitMs) => waitMs > 0)).toEqual([false, false, true]);
});

it('hands on the failure of a limiter', async () => {
  const failure = new Error('no store');
  const store = new FlexibleRateStore({ consume: () => Promise.reject(failure) });
  await expect(store.take(RATE, 'a')).rejects.toBe(failure);
});

it('makes a limiter again that could not be made', async () => {
  let attempts = 0;
  const store = new FlexibleRateStore(async () => {
    attempts += 1;
    if (attempts === 1) throw new Error('not yet');
    return Promise.resolve(new RateLimiterMemory({ points: 1, duration: 60 }));
  });
  await expect(store.take(RATE, 'a')).rejects.toThrow('not yet');
  expect([await store.take(RATE, 'a'), (await store.take(RATE, 'a')) > 0, attempts]).toEqual([0, true, 2]);
});
