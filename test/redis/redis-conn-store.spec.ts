import type { Redis } from 'ioredis';
import type { ConnLimit } from '../../lib/plugins/conn-store.js';
import { RedisConnStore } from '../../lib/redis/redis-conn-store.js';
import { eventually } from '../helpers/async.js';
import { describeWithRedis, TestRedis, useRedis } from './redis.js';

const LIMIT: ConnLimit = { maxConnections: 2, blockTimeMs: 0, leaseMs: 60_000 };
const SHORT: ConnLimit = { ...LIMIT, leaseMs: 500 };

function place(id: string, key = 'all'): { key: string; id: string } {
  return { key, id };
}

describeWithRedis('RedisConnStore', () => {
  let redis: TestRedis;
  let client: Redis;
  useRedis((...its) => ([redis, client] = its));
  let prefix = '';
  let tests = 0;
  beforeEach(() => {
    // of its own: what a store of another test holds is renewed
    prefix = `test ${(tests += 1)}:`;
  });

  const storeOn = (redisClient: Redis): RedisConnStore => new RedisConnStore(redisClient, { prefix });
  const members = (key = 'all'): Promise<number> => client.zcard(`${prefix}{${key}}`);

  it('gives as many places as the limit says to all servers together, and a freed one to the next caller', async () => {
    const [one, two] = [storeOn(client), storeOn(redis.client())];
    expect(await one.acquire(place('a'), LIMIT)).toBe(true);
    expect(await two.acquire(place('a'), LIMIT)).toBe(true); // the same name on another server
    expect(await one.acquire(place('b'), LIMIT)).toBe(false);
    expect(await two.acquire(place('b'), LIMIT)).toBe(false);
    two.release(place('a'));
    await two.flush();
    expect(await one.acquire(place('b'), LIMIT)).toBe(true);
    expect(await one.acquire(place('x', 'other'), LIMIT)).toBe(true);
  });

  it('gives no place twice, however many ask at once', async () => {
    const stores = Array.from({ length: 4 }, () => storeOn(redis.client()));
    const limit = { ...LIMIT, maxConnections: 10 };
    const asked = stores.flatMap((store) =>
      Array.from({ length: 25 }, (_, index) => store.acquire(place(String(index)), limit)),
    );
    expect((await Promise.all(asked)).filter(Boolean)).toHaveLength(10);
  });

  it('refuses everybody for the block time after an excess, and no longer', async () => {
    const store = storeOn(client);
    const limit = { ...LIMIT, maxConnections: 1, blockTimeMs: 60_000 };
    await store.acquire(place('a'), limit);
    expect(await store.acquire(place('b'), limit)).toBe(false);
    store.release(place('a'));
    expect(await store.acquire(place('b'), limit)).toBe(false);
    const left = await client.pttl(`${prefix}{all}:block`);
    expect(left > 0 && left <= 60_000).toBe(true);
    await client.del(`${prefix}{all}:block`);
    expect(await store.acquire(place('b'), limit)).toBe(true);
  });

  it('frees the places of a server that crashed when their lease is over', async () => {
    const crashing = redis.client();
    const crashed = storeOn(crashing);
    const other = storeOn(client);
    await crashed.acquire(place('a'), SHORT);
    await crashed.acquire(place('b'), SHORT);
    expect(await other.acquire(place('c'), SHORT)).toBe(false);
    crashing.disconnect(); // it renews no more
    let acquired = false;
    await eventually('the lease is over', () => {
      void other.acquire(place('c'), SHORT).then((got) => (acquired ||= got));
      return acquired;
    });
  });

  it('keeps the places of a server that lives for longer than their lease', async () => {
    const store = storeOn(client);
    const long = storeOn(client);
    // a long lease first: the short one must not wait for its renewal
    await store.acquire(place('l', 'long'), LIMIT);
    await store.acquire(place('a'), SHORT);
    await store.acquire(place('b'), SHORT);
    const scoreOf = async (): Promise<number> => {
      const scores = await client.zmscore(
        `${prefix}{all}`,
        ...(await client.zrange(`${prefix}{all}`, '0', '-1')),
      );
      return Math.max(...scores.map(Number));
    };
    const first = await scoreOf();
    let now = first;
    await eventually('the lease was renewed over four times its time', () => {
      void scoreOf().then((score) => (now = score));
      return now > first + 4 * SHORT.leaseMs;
    });
    expect(await long.acquire(place('c'), SHORT)).toBe(false);
    store.release(place('a'));
    store.release(place('b'));
    await store.flush();
    expect(await members()).toBe(0);
  });

  it('counts its connections again when Redis has lost its data', async () => {
    const store = storeOn(client);
    await store.acquire(place('a'), SHORT);
    await client.flushall();
    let count = 0;
    await eventually('the place is there again', () => {
      void members().then((now) => (count = now));
      return count === 1;
    });
  });

  it('loads its scripts again after a restart of Redis, and rejects meanwhile', async () => {
    const own = await TestRedis.start();
    const impatient = own.client({ maxRetriesPerRequest: 0 });
    try {
      const store = storeOn(impatient);
      expect(await store.acquire(place('a'), LIMIT)).toBe(true);
      await own.down();
      await expect(store.acquire(place('b'), LIMIT)).rejects.toThrow('max retries');
      store.release(place('a')); // throws nothing
      await store.flush();
      await own.up();
      await eventually('the client is back', () => impatient.status === 'ready');
      expect(await store.acquire(place('b'), LIMIT)).toBe(true);
    } finally {
      await own.end();
    }
  });

  it('leaves nothing in Redis for ever', async () => {
    const store = storeOn(client);
    await store.acquire(place('a'), LIMIT);
    await store.acquire(place('b'), { ...LIMIT, maxConnections: 1, blockTimeMs: 1000 });
    const keys = await client.keys(`${prefix}*`);
    expect(keys.toSorted()).toEqual([`${prefix}{all}`, `${prefix}{all}:block`]);
    for (const key of keys) expect(await client.pttl(key)).toBeGreaterThan(0);
  });

  it('keeps apart what has another prefix', async () => {
    const limit = { ...LIMIT, maxConnections: 1 };
    expect(await new RedisConnStore(client, { prefix: 'one:' }).acquire(place('a'), limit)).toBe(true);
    expect(await new RedisConnStore(client, { prefix: 'two:' }).acquire(place('a'), limit)).toBe(true);
  });
});
