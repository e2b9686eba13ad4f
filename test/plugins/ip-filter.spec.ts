import { IpFilterMiddleware, type IpFilterOptions } from '../../lib/plugins/ip-filter-middleware.js';
import type { IpListEdit, IpListStore, LoadedIpLists } from '../../lib/plugins/ip-list-store.js';
import { rejection } from '../helpers/async.js';
import { FakeClock } from '../helpers/fake-clock.js';
import { FakeConnection } from '../helpers/fake-connection.js';
import { silenced } from '../helpers/silent-log.js';

const lines = silenced();

async function admits(filter: IpFilterMiddleware, address: string): Promise<boolean> {
  const connection = new FakeConnection(address);
  await connection.through(filter);
  expect(connection.reason).toBe(connection.served ? undefined : 'not allowed to access');
  return connection.served;
}

async function admitted(filter: IpFilterMiddleware, ...addresses: string[]): Promise<string[]> {
  const admittedOnes: string[] = [];
  for (const address of addresses) if (await admits(filter, address)) admittedOnes.push(address);
  return admittedOnes;
}

it('without lists lets everybody in', async () => {
  expect(await admits(new IpFilterMiddleware(), '10.0.0.1')).toBe(true);
});

it('keeps out whom the block list holds', async () => {
  const filter = new IpFilterMiddleware({ block: ['10.0.0.0/8', '2001:db8::/32'] });
  const all = ['10.0.0.1', '::ffff:10.0.0.1', '11.0.0.1', '2001:db8::1', '2001:db9::1'];
  expect(await admitted(filter, ...all)).toEqual(['11.0.0.1', '2001:db9::1']);
});

it('lets in only whom the allow list holds, and does not look at the block list then', async () => {
  const filter = new IpFilterMiddleware({ allow: ['192.168.0.0/31'], block: ['192.168.0.1'] });
  const all = ['192.168.0.0', '192.168.0.1', '::ffff:192.168.0.1', '192.168.0.2', '::1'];
  expect(await admitted(filter, ...all)).toEqual(['192.168.0.0', '192.168.0.1', '::ffff:192.168.0.1']);
});

it('lets Unix sockets in, and nobody without an address', async () => {
  const filter = new IpFilterMiddleware({ allow: ['10.0.0.1'] });
  const unix = new FakeConnection('/tmp/rap.sock', 'unix');
  await unix.through(filter);
  expect(unix.served).toBe(true);
  expect(await admits(new IpFilterMiddleware({ block: ['10.0.0.1'] }), '')).toBe(false);
});

it.each([
  [{ allow: ['10.0.0.0/33'] }, 'allow: "10.0.0.0/33": the prefix must be a number from 0 to 32'],
  [{ block: ['10.0.0.1', 'nonsense'] }, 'block: "nonsense" is not an IP address or CIDR range'],
  [{ allow: '10.0.0.1' as never }, 'allow must be a list'],
  [{ block: [null as never] }, 'block: object is not an address or CIDR range'],
  [{ pollMs: 0 }, 'pollMs must be a number above 0, got 0'],
] satisfies [IpFilterOptions, string][])('refuses %j', (options, message) => {
  expect(() => new IpFilterMiddleware(options)).toThrow(RangeError);
  expect(() => new IpFilterMiddleware(options)).toThrow(message);
});

it('is changed while it runs', async () => {
  const filter = new IpFilterMiddleware();
  await filter.block('10.0.0.0/8');
  expect(await admits(filter, '10.0.0.1')).toBe(false);
  await filter.allow(['::ffff:10.0.0.0/104', '::1']); // the same range: no longer blocked
  expect(filter.lists).toEqual({ allow: ['10.0.0.0/8', '::1'], block: [] });
  expect([await admits(filter, '10.0.0.1'), await admits(filter, '11.0.0.1')]).toEqual([true, false]);
  await filter.removeAllowed(['10.0.0.0/8', '::1']);
  expect(await admits(filter, '11.0.0.1')).toBe(true);
  await filter.block(['11.0.0.1', '11.0.0.2']);
  await filter.removeBlocked('11.0.0.1');
  expect(filter.lists).toEqual({ allow: [], block: ['11.0.0.2'] });
});

it('changes nothing for a malformed entry', async () => {
  const filter = new IpFilterMiddleware({ block: ['10.0.0.1'] });
  const error = await rejection(filter.allow(['10.0.0.1', '10.0.0.256']));
  expect(error).toBeInstanceOf(RangeError);
  expect(error.message).toBe('"10.0.0.256" is not an IP address or CIDR range');
  expect(filter.lists).toEqual({ allow: [], block: ['10.0.0.1'] });
});

/** A store in memory that can be down. */
class FakeStore implements IpListStore {
  down = false;
  loads = 0;
  now: LoadedIpLists = { version: '0', allow: [], block: [] };

  async load(known: LoadedIpLists | undefined): Promise<LoadedIpLists | 'unchanged'> {
    this.loads += 1;
    if (this.down) throw new Error('no connection');
    return known?.version === this.now.version ? 'unchanged' : this.now;
  }

  async edit(edits: readonly IpListEdit[]): Promise<void> {
    if (this.down) throw new Error('no connection');
    const lists = { allow: [...this.now.allow], block: [...this.now.block] };
    for (const { list, add, remove } of edits) {
      lists[list] = [...lists[list].filter((it) => !remove.includes(it)), ...add];
    }
    this.now = { ...lists, version: `${Number(this.now.version) + 1}` };
  }
}

/** Lets the promises of a fake store run. */
async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

describe('with a store', () => {
  it('shares changes with other servers, at the latest with the next look', async () => {
    const store = new FakeStore();
    const clock = new FakeClock();
    const [one, two] = [new IpFilterMiddleware({ store, clock }), new IpFilterMiddleware({ store, clock })];
    await Promise.all([one.onServerStart(), two.onServerStart()]);
    await one.block('::ffff:10.0.0.7');
    expect(await admits(one, '10.0.0.7')).toBe(false); // at once
    expect(await admits(two, '10.0.0.7')).toBe(true);
    clock.advance(1000);
    await settled();
    expect(await admits(two, '10.0.0.7')).toBe(false);
    await two.removeBlocked('10.0.0.7/32');
    clock.advance(1000);
    await settled();
    expect(await admits(one, '10.0.0.7')).toBe(true);
  });

  it('keeps its own lists beside', async () => {
    const store = new FakeStore();
    const filter = new IpFilterMiddleware({ block: ['10.0.0.1'], store, clock: new FakeClock() });
    await filter.onServerStart();
    await filter.block('10.0.0.2');
    expect(await admitted(filter, '10.0.0.1', '10.0.0.2', '10.0.0.3')).toEqual(['10.0.0.3']);
    await filter.removeBlocked(['10.0.0.1', '10.0.0.2']);
    expect(filter.lists).toEqual({ allow: [], block: [] });
  });

  it('lets nobody in before the lists were read, and goes on with the last ones known', async () => {
    const store = new FakeStore();
    const clock = new FakeClock();
    const filter = new IpFilterMiddleware({ store, clock });
    store.down = true;
    await filter.onServerStart(); // which does not fail
    expect(await admits(filter, '10.0.0.1')).toBe(false);
    store.down = false;
    store.now = { version: '1', allow: ['10.0.0.1'], block: [] };
    clock.advance(1000);
    await settled();
    expect(await admitted(filter, '10.0.0.1', '10.0.0.2')).toEqual(['10.0.0.1']);
    store.down = true;
    for (let i = 0; i < 5; i++) {
      clock.advance(1000);
      await settled();
    }
    expect(await admitted(filter, '10.0.0.1', '10.0.0.2')).toEqual(['10.0.0.1']);
    expect(lines).toEqual([
      'warn the store fails (no connection): connections are refused',
      'warn the store is back',
      'warn the store fails (no connection): the last shared lists known go on',
    ]);
  });

  it('open: follows its own lists until the shared ones were read', async () => {
    const store = new FakeStore();
    store.down = true;
    const options = { store, clock: new FakeClock(), onStoreError: 'open' } as const;
    const filter = new IpFilterMiddleware({ ...options, block: ['10.0.0.1'] });
    await filter.onServerStart();
    expect(await admitted(filter, '10.0.0.1', '10.0.0.2')).toEqual(['10.0.0.2']);
  });

  it('says that a change was not made', async () => {
    const store = new FakeStore();
    const filter = new IpFilterMiddleware({ store, clock: new FakeClock(), block: ['10.0.0.1'] });
    await filter.onServerStart();
    store.down = true;
    await expect(filter.allow('10.0.0.1')).rejects.toThrow('the shared lists were not changed');
    expect(filter.lists).toEqual({ allow: [], block: ['10.0.0.1'] });
    store.down = false;
    await filter.allow('10.0.0.1'); // at once: a caller does not wait for the next look
    expect(filter.lists).toEqual({ allow: ['10.0.0.1'], block: [] });
  });

  it('goes on with the last lists known if somebody put nonsense into the store', async () => {
    const store = new FakeStore();
    const clock = new FakeClock();
    const filter = new IpFilterMiddleware({ store, clock });
    store.now = { version: '1', allow: ['10.0.0.1'], block: [] };
    await filter.onServerStart();
    store.now = { version: '2', allow: ['10.0.0.2', 'nonsense'], block: [] };
    clock.advance(1000);
    await settled();
    expect(await admitted(filter, '10.0.0.1', '10.0.0.2')).toEqual(['10.0.0.1']);
    expect(lines).toEqual([expect.stringContaining('"nonsense" is not an IP address or CIDR range')]);
  });

  it('stops looking with the last of its servers', async () => {
    const store = new FakeStore();
    const clock = new FakeClock();
    const filter = new IpFilterMiddleware({ store, clock });
    await filter.onServerStart();
    await filter.onServerStart();
    filter.onServerStop();
    expect(clock.pending).toBe(1);
    filter.onServerStop();
    expect(clock.pending).toBe(0);
    const { loads } = store;
    clock.advance(10_000);
    await settled();
    expect(store.loads).toBe(loads);
  });
});
