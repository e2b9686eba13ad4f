import { randomUUID } from 'node:crypto';
import type { IpListEdit, IpListStore, IpLists, LoadedIpLists } from '../plugins/ip-list-store.js';
import { type RedisClient, RedisScript } from './redis-script.js';

export interface RedisIpListStoreOptions {
  /** Distinguishes the lists of several filters. Default `default`. */
  name?: string | undefined;
  /** Prefix of all keys. Default `rap:ip:`. */
  prefix?: string | undefined;
}

/** KEYS allow, block, version; ARGV known version, or '' */
const LOAD = new RedisScript(`
local version = redis.call('GET', KEYS[3])
if not version then return {} end
if version == ARGV[1] then return {version} end
return {version, redis.call('SMEMBERS', KEYS[1]), redis.call('SMEMBERS', KEYS[2])}
`);

/** KEYS allow, block, version; ARGV new version, 1 if there must be lists, then a command, a list (1 or 2) and an entry each */
const EDIT = new RedisScript(`
if ARGV[2] == '1' and redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
for i = 3, #ARGV, 3 do redis.call(ARGV[i], KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2]) end
redis.call('SET', KEYS[3], ARGV[1])
return 1
`);

/** KEYS allow, block, version; ARGV new version, then a list (1 or 2) and an entry, for each */
const RESTORE = new RedisScript(`
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
for i = 2, #ARGV, 2 do redis.call('SADD', KEYS[tonumber(ARGV[i])], ARGV[i + 1]) end
redis.call('SET', KEYS[3], ARGV[1])
return 1
`);

/** Lists that were never edited. */
const EMPTY: LoadedIpLists = { version: '', allow: [], block: [] };

/**
 * The lists of an `IpFilterMiddleware`, as two sets in Redis, for all servers that use the same Redis, prefix and name.
 * If Redis has lost its data, the first server that loads the lists writes back what it knows: an allow list does not vanish.
 */
export class RedisIpListStore implements IpListStore {
  readonly #keys: readonly [allow: string, block: string, version: string];

  /** @param redis an ioredis instance, which stays yours. */
  constructor(
    private readonly redis: RedisClient,
    { name = 'default', prefix = 'rap:ip:' }: RedisIpListStoreOptions = {},
  ) {
    // in one slot of a cluster
    const base = `${prefix}{${name}}`;
    this.#keys = [`${base}:allow`, `${base}:block`, `${base}:version`];
  }

  async load(known: LoadedIpLists | undefined): Promise<LoadedIpLists | 'unchanged'> {
    const answer = (await LOAD.run(this.redis, this.#keys, [known?.version ?? ''])) as [
      version?: string,
      allow?: string[],
      block?: string[],
    ];
    const [version, allow, block] = answer;
    if (version !== undefined) return allow && block ? { version, allow, block } : 'unchanged';
    if (!known) return EMPTY;
    if (known.version === EMPTY.version) return 'unchanged';
    await this.#restore(known);
    return this.load(undefined);
  }

  async edit(edits: readonly IpListEdit[], known: LoadedIpLists | undefined): Promise<void> {
    const changes = edits.flatMap(({ list, add, remove }) => [
      ...remove.flatMap((entry) => ['SREM', numberOf(list), entry]),
      ...add.flatMap((entry) => ['SADD', numberOf(list), entry]),
    ]);
    const hasLists = known !== undefined && known.version !== EMPTY.version;
    const edited = await EDIT.run(this.redis, this.#keys, [randomUUID(), hasLists ? 1 : 0, ...changes]);
    if (edited === 1 || !known) return;
    // after a loss, the lists must not consist of this change alone
    await this.#restore(known);
    await EDIT.run(this.redis, this.#keys, [randomUUID(), 1, ...changes]);
  }

  async #restore({ allow, block }: IpLists): Promise<void> {
    const entries = [
      ...allow.flatMap((entry) => [numberOf('allow'), entry]),
      ...block.flatMap((entry) => [numberOf('block'), entry]),
    ];
    await RESTORE.run(this.redis, this.#keys, [randomUUID(), ...entries]);
  }
}

/** Index of the list among the keys. */
function numberOf(list: keyof IpLists): number {
  return list === 'allow' ? 1 : 2;
}
