import { dnsResolver } from '../../lib/discovery/dns-resolver.js';
import type { DnsResolverOptions } from '../../lib/discovery/dns-options.js';
import type { ServerAddress } from '../../lib/cluster/server-address.js';
import { turn } from '../helpers/async.js';
import { DnsScript, ResolverTest } from './dns-script.js';

let dns: DnsScript;
beforeEach(() => (dns = new DnsScript()));

const NAME = 'math.test';

async function watch(
  options: Partial<DnsResolverOptions> = {},
  random?: () => number,
): Promise<ResolverTest> {
  const test = new ResolverTest({ name: NAME, port: 1, ...options }, () => dns.open(), random);
  await turn();
  return test;
}

const record = (name: string, port: number, weight = 0, priority = 0) => ({ name, port, weight, priority });
const srv = (): Promise<ResolverTest> => watch({ name: '_rap._tcp.math.test', type: 'SRV', port: undefined });

it('lists IPv4 and IPv6 addresses, with the name that TLS verifies', async () => {
  dns.a = ['10.0.0.1'];
  dns.aaaa = ['fd00::1'];
  const test = await watch({ name: 'math.test.' });

  expect(test.lists).toEqual([
    [
      { host: '10.0.0.1', port: 1, serverName: NAME },
      { host: 'fd00::1', port: 1, serverName: NAME },
    ],
  ]);
  expect(test.errors).toEqual([]);
});

it.each([
  ['A', ['A math.test']],
  ['AAAA', ['AAAA math.test']],
] as const)('asks only for %s', async (type, asked) => {
  await watch({ type });
  expect(dns.asked).toEqual(asked);
});

it.each([
  [0, 5_000],
  [1, 5_000],
  [12, 12_000],
  [86_400, 30_000],
  [2 ** 31, 30_000],
])('asks again after a TTL of %d s in %d ms', async (ttl, ms) => {
  dns.ttl = ttl;
  dns.a = ['10.0.0.1'];
  const test = await watch({ type: 'A' });
  await test.pass(ms - 1, ms);
  expect(dns.asked).toHaveLength(1);
  await test.pass(1);
  expect(dns.asked).toHaveLength(2);
});

it('spreads the queries of many clients, and never asks in less than the shortest time', async () => {
  dns.a = ['10.0.0.1'];
  dns.ttl = 20;
  const late = await watch({ type: 'A' }, () => 0.999);
  await late.pass(18_100);
  expect(dns.asked).toHaveLength(2);

  dns.asked = [];
  dns.ttl = 5;
  const least = await watch({ type: 'A' }, () => 0.999);
  await least.pass(4_999, 4_999);
  expect(dns.asked).toHaveLength(1);
});

it('tells a list only when it has changed', async () => {
  dns.a = ['10.0.0.1', '10.0.0.2'];
  const test = await watch();
  dns.a = ['10.0.0.2', '10.0.0.1'];
  await test.pass(30_000);
  dns.a = ['10.0.0.2', '10.0.0.1', '10.0.0.3'];
  await test.pass(30_000);
  expect(test.lists.map((list) => list.length)).toEqual([2, 3]);
});

it('has one search for all who watch, and tells a list that is known at once', async () => {
  dns.a = ['10.0.0.1'];
  const test = await watch({ type: 'A' });
  const lists: unknown[] = [];
  const stop = test.resolver.watch((list) => lists.push(list));
  expect(lists).toHaveLength(1);
  await test.pass(10_000);
  expect(dns.asked).toHaveLength(2);

  test.stop();
  test.stop();
  await test.pass(10_000);
  expect(dns.asked).toHaveLength(3);
  stop();
  await test.pass(60_000);
  expect(dns.asked).toHaveLength(3);
  expect(test.clock.pending).toBe(0);
});

it('ends the query that runs when nobody watches, and starts anew for the next', async () => {
  dns.a = 'hangs';
  const test = await watch({ type: 'A' });
  test.stop();
  await turn();
  expect([dns.running, dns.cancelled, test.clock.pending]).toEqual([0, 1, 0]);
  expect(test.errors).toEqual([]);

  dns.a = ['10.0.0.1'];
  const lists: unknown[] = [];
  test.resolver.watch((list) => lists.push(list));
  await turn();
  expect(lists).toHaveLength(1);
});

it('goes on if a listener throws, or stops in its call', async () => {
  dns.a = ['10.0.0.1'];
  const test = await watch();
  const errors: unknown[] = [];
  test.resolver.watch(
    () => {
      throw new Error('of the listener');
    },
    (error) => {
      errors.push(error.message);
      throw error;
    },
  );
  const stop = test.resolver.watch((list) => list.length === 2 && stop());
  dns.a = ['10.0.0.1', '10.0.0.2'];
  await test.pass(10_000);
  expect(errors).toEqual(['of the listener', 'of the listener']);
  expect(test.lists).toHaveLength(2);
});

describe('servers that vanish', () => {
  it('stay for 60 s', async () => {
    dns.a = ['10.0.0.1', '10.0.0.2'];
    const test = await watch();
    dns.a = ['10.0.0.1'];
    await test.pass(10_000); // the answer without it
    await test.pass(59_999);
    expect(test.list).toHaveLength(2);
    await test.pass(1);
    expect(test.list).toEqual(['10.0.0.1:1']);
  });

  it('have their time anew if they come back', async () => {
    dns.a = ['10.0.0.1', '10.0.0.2'];
    const test = await watch();
    for (const answer of [['10.0.0.1'], ['10.0.0.1', '10.0.0.2'], ['10.0.0.1']]) {
      dns.a = answer;
      await test.pass(50_000);
    }
    expect(test.list).toHaveLength(2);
    expect(test.lists).toHaveLength(1);
  });

  it('churn nothing if an answer rotates 8 of 50, whatever its TTL', async () => {
    dns.ttl = 30;
    const all = Array.from({ length: 50 }, (_, i) => `10.0.0.${i}`);
    let first = 0;
    const rotate = (): void => {
      dns.a = Array.from({ length: 8 }, (_, i) => all[(first + i) % 50] ?? '');
      first += 8;
    };
    rotate();
    const test = await watch();
    for (let i = 0; i < 400; i++) {
      rotate();
      await test.pass(5_000, 5_000);
    }
    const sizes = test.lists.map((list) => list.length);
    expect(sizes.at(-1)).toBe(50);
    expect(sizes).toEqual(sizes.toSorted((a, b) => a - b));
  });

  it('churn nothing if an answer is a random 8 of 50', async () => {
    let seed = 7;
    const random = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
    const all = Array.from({ length: 50 }, (_, i) => `10.0.0.${i}`);
    const test = await watch();
    for (let i = 0; i < 3_000; i++) {
      dns.a = all
        .map((at) => [random(), at] as const)
        .toSorted((a, b) => a[0] - b[0])
        .slice(0, 8)
        .map(([, at]) => at);
      await test.pass(5_000, 5_000);
    }
    expect(test.list).toHaveLength(50);
    const sizes = test.lists.map((list) => list.length);
    expect(sizes).toEqual(sizes.toSorted((a, b) => a - b));

    dns.a = all.slice(0, 8); // 42 of them are gone now
    await test.pass(700_000, 5_000);
    expect(test.list).toHaveLength(8);
  });
});

describe('a name without servers', () => {
  it.each(['ENOTFOUND', 'ENODATA'])(
    'is an empty list at first, and an error with the name: %s',
    async (code) => {
      dns.a = code;
      dns.aaaa = code;
      const test = await watch();
      expect(test.lists).toEqual([[]]);
      expect(test.errors).toEqual([
        'The name math.test does not exist, or has no A or AAAA records that lead to an address',
      ]);
      dns.a = ['10.0.0.1'];
      await test.pass(5_000);
      expect(test.list).toEqual(['10.0.0.1:1']);
    },
  );

  it('keeps the servers it had for 60 s', async () => {
    dns.a = ['10.0.0.1'];
    const test = await watch();
    dns.a = 'ENOTFOUND';
    await test.pass(10_000);
    expect(test.errors.at(-1)).toMatch(/math\.test does not exist.*the list of 1 stays/);
    await test.pass(59_000);
    expect(test.list).toHaveLength(1);
    await test.pass(1_000);
    expect(test.list).toEqual([]);
    expect(dns.asked.length).toBeLessThan(35);
  });
});

describe('DNS that is down', () => {
  it.each(['ESERVFAIL', 'EREFUSED', 'ECONNREFUSED', 'ETIMEOUT', 'EBADRESP'])(
    'keeps the list: %s',
    async (code) => {
      dns.a = ['10.0.0.1'];
      const test = await watch();
      dns.a = code;
      dns.aaaa = code;
      await test.pass(3_600_000, 5_000);
      expect(test.list).toEqual(['10.0.0.1:1']);
      expect(test.errors[0]).toBe(`The name math.test could not be looked up: ${code}; the list of 1 stays`);
      dns.a = ['10.0.0.2'];
      await test.pass(30_000);
      expect(test.list).toContain('10.0.0.2:1');
    },
  );

  it('is asked less and less, never in a spin', async () => {
    dns.a = 'ESERVFAIL';
    const test = await watch({ type: 'A' });
    const times: number[] = [];
    for (let second = 0; second < 600; second++) {
      await test.pass(1_000, 250);
      times.push(dns.asked.length);
    }
    expect(times[9]).toBeLessThanOrEqual(6);
    expect(times[599]).toBeLessThanOrEqual(6 + 600 / 15 + 1);
    expect(test.errors).toHaveLength(dns.asked.length);
  });

  it('fails a list after its time, and ends its query', async () => {
    dns.a = 'hangs';
    const test = await watch();
    await test.pass(4_999, 4_999);
    expect(test.errors).toEqual([]);
    await test.pass(1);
    expect(test.errors).toEqual([
      'The name math.test could not be looked up: no answer about math.test within 5000 ms',
    ]);
    expect(test.lists).toEqual([]);
    expect(dns.running).toBe(0);
  });

  it('keeps the process alive only while somebody waits for the first list', async () => {
    dns.a = 'ESERVFAIL';
    const test = await watch({ type: 'A' });
    expect(test.clock.held).toBe(1);
    dns.a = ['10.0.0.1'];
    await test.pass(5_000);
    expect(test.clock.held).toBe(0);
    dns.a = 'ESERVFAIL';
    await test.pass(10_000);
    expect([test.errors.length > 1, test.clock.held]).toEqual([true, 0]);
  });

  it('keeps what IPv6 had if only IPv6 does not answer, and says so once', async () => {
    dns.a = ['10.0.0.1'];
    dns.aaaa = ['fd00::1'];
    const test = await watch();
    dns.a = ['10.0.0.2'];
    dns.aaaa = 'ESERVFAIL';
    await test.pass(600_000, 5_000);
    expect(test.list).toEqual(['10.0.0.2:1', '[fd00::1]:1']);
    expect(test.errors).toEqual([
      'The name math.test has only a part of its answer: AAAA failed with ESERVFAIL',
    ]);
  });

  it('fails if no socket can be opened, and tries again', async () => {
    dns.openError = new Error('EMFILE');
    dns.a = ['10.0.0.1'];
    const test = await watch();
    expect(test.errors).toEqual(['The name math.test could not be looked up: EMFILE']);
    dns.openError = undefined;
    await test.pass(1_000);
    expect(test.list).toEqual(['10.0.0.1:1']);
  });
});

describe('10,000 addresses', () => {
  const many = Array.from({ length: 10_000 }, (_, i) => `10.${Math.floor(i / 250)}.0.${i % 250}`);

  it('are cut to the same 1,000 each time, and told once', async () => {
    dns.a = many;
    const test = await watch({}, () => 0.4);
    expect(test.list).toHaveLength(1_000);
    dns.a = many.toReversed();
    await test.pass(60_000);
    expect(test.lists).toHaveLength(1);
    expect(test.errors).toEqual([
      'The name math.test has more than 1000 servers (maxServers); the others are left out',
    ]);
    dns.a = [...many, '11.0.0.1'];
    await test.pass(10_000);
    const [before, after = before] = test.lists.map((list) => new Set(list.map(({ host }) => host)));
    expect([...(after ?? [])].filter((host) => !before?.has(host)).length).toBeLessThanOrEqual(1);
  });

  it('are another part for another process, so that all servers have clients', async () => {
    dns.a = many;
    const one = await watch({ maxServers: 100 }, () => 0.1);
    const other = await watch({ maxServers: 100 }, () => 0.2);
    const both = new Set([...(one.list ?? []), ...(other.list ?? [])]);
    expect(both.size).toBeGreaterThan(150);
  });
});

describe('SRV', () => {
  it('has ports, weights and the name of the target for TLS', async () => {
    dns.srv = [record('a.test', 1, 10), record('b.test', 2, 30), record('c.test', 3, 0)];
    dns.targets = { 'a.test': ['10.0.0.1'], 'b.test': ['10.0.0.2', '10.0.0.3'], 'c.test': ['10.0.0.4'] };
    const test = await srv();
    expect(test.lists[0]).toEqual<ServerAddress[]>([
      { host: '10.0.0.1', port: 1, serverName: 'a.test', weight: 10 },
      { host: '10.0.0.2', port: 2, serverName: 'b.test', weight: 15 },
      { host: '10.0.0.3', port: 2, serverName: 'b.test', weight: 15 },
      { host: '10.0.0.4', port: 3, serverName: 'c.test', weight: 0.01 },
    ]);
  });

  it('shares evenly if no record has a weight', async () => {
    dns.srv = [record('a.test', 1), record('b.test', 1)];
    dns.targets = { 'a.test': ['10.0.0.1'], 'b.test': ['10.0.0.2'] };
    const test = await srv();
    expect(test.lists[0]?.map(({ weight }) => weight)).toEqual([1, 1]);
  });

  it('uses the lowest priority, and the next if it has no address', async () => {
    dns.srv = [record('b.test', 2, 1, 20), record('a.test', 1, 1, 10)];
    dns.targets = { 'a.test': ['10.0.0.1'], 'b.test': ['10.0.0.2'] };
    const test = await srv();
    expect(test.list).toEqual(['10.0.0.1:1']);
    dns.targets['a.test'] = 'ENOTFOUND';
    await test.pass(10_000);
    expect(test.list).toEqual(['10.0.0.1:1', '10.0.0.2:2']); // the vanished one stays for a while
    await test.pass(60_000);
    expect(test.list).toEqual(['10.0.0.2:2']);
  });

  it('asks for IPv6 only if a target has no IPv4: it would be the same server twice', async () => {
    dns.srv = [record('a.test', 1), record('b.test', 1)];
    dns.targets = { 'a.test': ['10.0.0.1'], 'b.test': 'ENODATA' };
    dns.aaaa = ['fd00::1'];
    const test = await srv();
    expect(test.list).toEqual(['10.0.0.1:1', '[fd00::1]:1']);
    expect(dns.asked).not.toContain('AAAA a.test');
  });

  it('keeps the servers of a target that cannot be looked up now', async () => {
    dns.srv = [record('a.test', 1), record('b.test', 1)];
    dns.targets = { 'a.test': ['10.0.0.1'], 'b.test': ['10.0.0.2'] };
    const test = await srv();
    dns.targets['b.test'] = 'ESERVFAIL';
    dns.aaaa = 'ESERVFAIL';
    await test.pass(600_000, 5_000);
    expect(test.list).toHaveLength(2);
    expect(test.errors).toEqual([expect.stringContaining('b.test failed with ESERVFAIL')]);
  });

  it.each(['', '.'])('has no servers if the target is "%s"', async (target) => {
    dns.srv = [record(target, 0)];
    const test = await srv();
    expect(test.lists).toEqual([[]]);
    expect(test.errors[0]).toContain('no SRV records');
  });

  it('looks up at most 16 of many targets at the same time, and at most maxServers', async () => {
    dns.srv = Array.from({ length: 10_000 }, (_, i) => record(`pod-${i}.test`, 1));
    dns.targets = Object.fromEntries(dns.srv.map(({ name }, i) => [name, [`10.${i >> 8}.1.${i & 255}`]]));
    const test = await srv();
    await test.pass(10);
    expect(dns.mostRunning).toBe(16);
    expect(test.list).toHaveLength(1_000);
    expect(dns.asked.length).toBe(1_001);
  });

  it('asks nothing more when it is stopped in the middle', async () => {
    dns.srv = Array.from({ length: 100 }, (_, i) => record(`pod-${i}.test`, 1));
    dns.targets = Object.fromEntries(dns.srv.map(({ name }) => [name, 'hangs']));
    dns.a = 'hangs';
    const test = await srv();
    expect(dns.running).toBe(16);
    test.stop();
    await turn();
    expect(dns.running).toBe(0);
    expect(dns.asked.filter((each) => each.startsWith('A ')).length).toBe(16);
  });
});

describe('options', () => {
  it.each(['localhost', '127.0.0.1', '::1', 'fe80::1%eth0', 'LOCALHOST'])('need no query for %s', (name) => {
    const lists: unknown[] = [];
    dnsResolver({ name, port: 3, nameServers: ['127.0.0.1:1'] }).watch((list) => lists.push(list));
    expect(lists).toEqual([[{ host: name, port: 3 }]]);
  });

  it.each([
    'a',
    'a.b-c.d',
    '_rap._tcp.math.test',
    'math.test.',
    'bücher.test',
    '1.2.3',
    `${'a'.repeat(63)}.b`,
  ])('take the name %s', (name) => void dnsResolver({ name }));

  it.each([
    '',
    '.',
    'a..b',
    '.a',
    ' a',
    'a b',
    'a/b',
    'a:1',
    'http://a',
    'a'.repeat(64),
    'a.'.repeat(128),
    'a\n',
    7,
  ])('refuse the name %j', (name) => {
    expect(() => dnsResolver({ name: name as string })).toThrow(/dnsResolver\.name .*DNS name/);
  });

  it.each<[Record<string, unknown>, string]>([
    [{ type: 'CNAME' }, "dnsResolver.type must be 'A', 'AAAA' or 'SRV'"],
    [{ type: 'SRV', port: 1 }, 'dnsResolver.port is not for SRV'],
    [{ type: 'SRV', name: 'localhost' }, 'localhost cannot have SRV records'],
    [{ port: 0 }, 'dnsResolver.port must be'],
    [{ port: NaN }, 'dnsResolver.port must be'],
    [{ nameServers: [] }, 'dnsResolver.nameServers must be'],
    [{ nameServers: '10.0.0.1' }, 'dnsResolver.nameServers must be'],
    [{ nameServers: ['10.0.0.1', 'ns.test'] }, 'dnsResolver.nameServers[1] must be an IP address'],
    [{ nameServers: [7] }, 'dnsResolver.nameServers[0] must be an IP address'],
    [{ keepMs: -1 }, 'dnsResolver.keepMs must be'],
    [{ minTtlMs: 0 }, 'dnsResolver.minTtlMs must be at least 1000'],
    [{ maxTtlMs: 4_000 }, 'dnsResolver.maxTtlMs must be at least minTtlMs'],
    [{ timeoutMs: 0 }, 'dnsResolver.timeoutMs must be'],
    [{ maxServers: 0 }, 'dnsResolver.maxServers must be'],
    [{ maxServers: NaN }, 'dnsResolver.maxServers must be'],
    [{ tll: 1 }, 'dnsResolver.tll is not an option'],
    [
      { nameServer: ['10.0.0.1'] },
      'dnsResolver.nameServer is not an option; did you mean dnsResolver.nameServers?',
    ],
    [{ prot: 1 }, 'dnsResolver.prot is not an option; did you mean dnsResolver.port?'],
    [{ minTtl: 1 }, 'dnsResolver.minTtl is not an option; did you mean dnsResolver.minTtlMs?'],
  ])('refuse %j', (options, message) => {
    const refused = (): unknown => dnsResolver({ name: NAME, ...options });
    expect(refused).toThrow(RangeError);
    expect(refused).toThrow(message);
  });

  it.each([undefined, 'math.test'])('are needed: %j', (options) => {
    expect(() => dnsResolver(options as never)).toThrow(
      'dnsResolver() needs an object with its options, got ',
    );
  });
});
