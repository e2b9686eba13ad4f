import type { Redis } from 'ioredis';
import type { LoadedIpLists } from '../../lib/plugins/ip-list-store.js';
import { RedisIpListStore } from '../../lib/redis/redis-ip-list-store.js';
import { describeWithRedis, type TestRedis, useRedis } from './redis.js';

async function load(store: RedisIpListStore, known?: LoadedIpLists): Promise<LoadedIpLists> {
  const loaded = await store.load(known);
  if (loaded === 'unchanged') throw new Error('unchanged');
  return loaded;
}

describeWithRedis('RedisIpListStore', () => {
  let redis: TestRedis;
  let client: Redis;
  useRedis((...its) => ([redis, client] = its));

  it('is empty at first, and unchanged after that', async () => {
    const store = new RedisIpListStore(client);
    const first = await load(store);
    expect(first).toEqual({ version: '', allow: [], block: [] });
    expect(await store.load(first)).toBe('unchanged');
    expect(await client.keys('*')).toEqual([]);
  });

  it('shows the changes of one server to another', async () => {
    const [one, two] = [new RedisIpListStore(client), new RedisIpListStore(redis.client())];
    const before = await load(two);
    await one.edit(
      [
        { list: 'block', add: ['10.0.0.1', '10.1.0.0/16'], remove: [] },
        { list: 'allow', add: ['::1'], remove: ['10.0.0.1'] },
      ],
      before,
    );
    const after = await load(two, before);
    expect([after.allow, after.block.toSorted()]).toEqual([['::1'], ['10.0.0.1', '10.1.0.0/16']]);
    expect(await two.load(after)).toBe('unchanged');
    await one.edit([{ list: 'block', add: [], remove: ['10.0.0.1'] }], after);
    expect((await load(two, after)).block).toEqual(['10.1.0.0/16']);
  });

  it('gets its data back after it was lost, from the server that looks first, and only once', async () => {
    const [one, two] = [new RedisIpListStore(client), new RedisIpListStore(client)];
    await one.edit([{ list: 'allow', add: ['10.0.0.1'], remove: [] }], undefined);
    const known = await load(one);
    await client.flushall();
    const restored = await load(one, known);
    expect(restored).toMatchObject({ allow: ['10.0.0.1'], block: [] });
    expect(await load(two)).toEqual(restored);
    expect(await load(two, known)).toEqual(restored);
  });

  it('keeps what it has lost when the first thing after that is a change', async () => {
    const store = new RedisIpListStore(client);
    await store.edit([{ list: 'allow', add: ['10.0.0.1', '10.0.0.2'], remove: [] }], undefined);
    const known = await load(store);
    await client.flushall();
    await store.edit([{ list: 'allow', add: ['10.0.0.3'], remove: ['10.0.0.1'] }], known);
    expect((await load(store, known)).allow.toSorted()).toEqual(['10.0.0.2', '10.0.0.3']);
  });

  it('does not bring back what is out of date once others have gone on', async () => {
    const [one, two] = [new RedisIpListStore(client), new RedisIpListStore(client)];
    await one.edit([{ list: 'allow', add: ['10.0.0.1'], remove: [] }], undefined);
    const known = await load(one);
    await client.flushall();
    await two.edit([{ list: 'allow', add: ['10.0.0.2'], remove: [] }], undefined);
    expect((await load(one, known)).allow).toEqual(['10.0.0.2']);
  });

  it('holds 10,000 ranges', async () => {
    const store = new RedisIpListStore(client);
    const add = Array.from({ length: 10_000 }, (_, index) => `10.${index >> 8}.${index & 255}.0/24`);
    await store.edit([{ list: 'block', add, remove: [] }], undefined);
    const known = await load(store);
    expect(new Set(known.block)).toEqual(new Set(add));
    await client.flushall();
    expect((await load(store, known)).block).toHaveLength(10_000);
  });

  it('keeps filters of other names apart', async () => {
    await new RedisIpListStore(client, { name: 'a' }).edit(
      [{ list: 'allow', add: ['::1'], remove: [] }],
      undefined,
    );
    expect((await load(new RedisIpListStore(client, { name: 'b' }))).allow).toEqual([]);
  });
});
