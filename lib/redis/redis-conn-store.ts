import { randomUUID } from 'node:crypto';
import type { ConnLimit, ConnPlace, ConnStore } from '../plugins/conn-store.js';
import type { Clock, Timer } from '../protocol/clock.js';
import { systemClock } from '../rpc/time/system-clock.js';
import { type RedisClient, RedisScript } from './redis-script.js';

export interface RedisConnStoreOptions {
  /** Prefix of all keys. Default `rap:conn:`. */
  prefix?: string | undefined;
  /** @internal */
  clock?: Clock | undefined;
}

/** Places of a key are members of a sorted set; the score is when the lease ends, by the clock of Redis. */
const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** KEYS places, block; ARGV member, maxConnections, leaseMs, blockTimeMs */
const ACQUIRE = new RedisScript(`${NOW}
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  if tonumber(ARGV[4]) > 0 then redis.call('SET', KEYS[2], '1', 'PX', ARGV[4]) end
  return 0
end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1
`);

/** KEYS places; ARGV leaseMs, members */
const RENEW = new RedisScript(`${NOW}
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[i]) end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1
`);

/** Members of one renewal. */
const BATCH = 500;

interface Held {
  readonly leaseMs: number;
  readonly members: Set<string>;
}

/**
 * Counts connections for all servers that use the same Redis and prefix. A place is a lease: a server renews those of its
 * connections three times per lease, and those of a server that crashed expire. If Redis loses its data, it has them again
 * with the next renewal.
 */
export class RedisConnStore implements ConnStore {
  /** By key: the places of this server. */
  readonly #held = new Map<string, Held>();
  readonly #server = randomUUID();
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #releasing = new Set<Promise<unknown>>();
  #renewal: { readonly everyMs: number; readonly timer: Timer } | undefined;
  #shortestLeaseMs = Infinity;

  /** @param redis an ioredis instance, which stays yours. */
  constructor(
    private readonly redis: RedisClient,
    options: RedisConnStoreOptions = {},
  ) {
    this.#prefix = options.prefix ?? 'rap:conn:';
    this.#clock = options.clock ?? systemClock;
  }

  async acquire(place: ConnPlace, limit: ConnLimit): Promise<boolean> {
    const keys = [this.#places(place.key), `${this.#places(place.key)}:block`];
    const { maxConnections, leaseMs, blockTimeMs } = limit;
    const args = [this.#member(place), maxConnections, Math.ceil(leaseMs), Math.ceil(blockTimeMs)];
    const acquired = (await ACQUIRE.run(this.redis, keys, args)) === 1;
    if (acquired) this.hold(place, limit);
    return acquired;
  }

  hold(place: ConnPlace, { leaseMs }: ConnLimit): void {
    let held = this.#held.get(place.key);
    if (!held) this.#held.set(place.key, (held = { leaseMs, members: new Set() }));
    held.members.add(this.#member(place));
    this.#shortestLeaseMs = Math.min(this.#shortestLeaseMs, leaseMs);
    this.#renewLater();
  }

  release(place: ConnPlace): void {
    const member = this.#member(place);
    const held = this.#held.get(place.key);
    held?.members.delete(member);
    if (held?.members.size === 0) this.#held.delete(place.key);
    // if it fails, the lease expires
    const removed = this.redis.call('zrem', this.#places(place.key), member).catch(() => {});
    this.#releasing.add(removed);
    void removed.then(() => this.#releasing.delete(removed));
  }

  async flush(): Promise<void> {
    await Promise.all(this.#releasing);
  }

  /** Both keys of a limit are in one slot of a cluster. */
  #places(key: string): string {
    return `${this.#prefix}{${key}}`;
  }

  #member({ id }: ConnPlace): string {
    return `${this.#server}:${id}`;
  }

  #renewLater(): void {
    const everyMs = this.#shortestLeaseMs / 3;
    if (this.#held.size === 0 || (this.#renewal && this.#renewal.everyMs <= everyMs)) return;
    this.#renewal?.timer.cancel();
    const timer = this.#clock.after(everyMs, () => {
      void this.#renew().then(() => {
        if (this.#renewal === renewal) this.#renewal = undefined;
        this.#renewLater();
      });
    });
    const renewal = { everyMs, timer };
    this.#renewal = renewal;
  }

  /** One after another: thousands of addresses must not fill the queue of the client. */
  async #renew(): Promise<void> {
    for (const [key, { leaseMs, members }] of this.#held) {
      const all = [...members];
      for (let start = 0; start < all.length; start += BATCH) {
        const batch = all.slice(start, start + BATCH).filter((member) => members.has(member));
        try {
          if (batch.length > 0)
            await RENEW.run(this.redis, [this.#places(key)], [Math.ceil(leaseMs), ...batch]);
        } catch {
          return; // Redis is down: the next round tries again
        }
      }
    }
  }
}
