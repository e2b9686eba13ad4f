import { BlockList } from 'node:net';
import * as fc from 'fast-check';
import { covers, IpList } from '../../lib/plugins/ip-list.js';
import { type IpAddress, normalRange, parseAddress } from '../../lib/plugins/ip-range.js';

function at(text: string): IpAddress {
  return parseAddress(text) as IpAddress;
}

it('holds what its ranges cover, and nothing beside', () => {
  const list = new IpList([
    '10.0.0.0/8',
    '10.1.0.0/16',
    '192.168.0.2/31',
    '192.168.0.4',
    '2001:db8::/32',
    '::1',
  ]);
  const inside = [
    '10.0.0.0',
    '10.255.255.255',
    '::ffff:10.1.2.3',
    '192.168.0.2',
    '192.168.0.3',
    '192.168.0.4',
  ];
  const inside6 = ['2001:db8::', '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff', '::1'];
  for (const text of [...inside, ...inside6]) expect([text, list.has(at(text))]).toEqual([text, true]);
  const outside = [
    '9.255.255.255',
    '11.0.0.0',
    '192.168.0.1',
    '192.168.0.5',
    '2001:db7::',
    '2001:db9::',
    '::',
    '::2',
  ];
  for (const text of outside) expect([text, list.has(at(text))]).toEqual([text, false]);
});

it('does not take all of IPv6 for IPv4, nor the other way round', () => {
  expect(new IpList(['::/0']).has(at('10.0.0.1'))).toBe(false);
  expect(new IpList(['0.0.0.0/0']).has(at('::a00:1'))).toBe(false);
});

it('is empty without entries', () => {
  const list = new IpList();
  expect([list.size, list.has(at('0.0.0.0')), list.has(at('::'))]).toEqual([0, false, false]);
});

it('adds nothing of what holds a malformed entry', () => {
  const list = new IpList(['10.0.0.1']);
  expect(() => list.add(['10.0.0.2', '10.0.0.300'])).toThrow('"10.0.0.300"');
  expect(list.entries()).toEqual(['10.0.0.1']);
  expect(list.has(at('10.0.0.2'))).toBe(false);
});

it('forgets an entry however it is written, and only that', () => {
  const list = new IpList(['10.0.0.0/8', '10.1.0.0/16', '10.0.0.7']);
  expect(list.has(at('10.9.0.1'))).toBe(true);
  list.remove(['::ffff:10.0.0.0/104', '10.0.0.7/32', '172.16.0.0/12']);
  expect(list.entries()).toEqual(['10.1.0.0/16']);
  expect([list.has(at('10.9.0.1')), list.has(at('10.1.0.1'))]).toEqual([false, true]);
});

it('looks at 15 of 10,000 ranges', () => {
  const count = { reads: 0 };
  const counted = (values: bigint[]): bigint[] =>
    new Proxy(values, {
      get(target, key) {
        if (typeof key === 'string' && /^\d+$/.test(key)) count.reads += 1;
        return Reflect.get(target, key) as unknown;
      },
    });
  const firsts = Array.from({ length: 10_000 }, (_, index) => BigInt(index * 10));
  const index = { firsts: counted(firsts), lasts: counted(firsts.map((first) => first + 4n)) };
  for (const [value, within] of [
    [50_003n, true],
    [50_007n, false],
    [-1n, false],
    [10n ** 9n, false],
    [0n, true],
  ] as const) {
    count.reads = 0;
    expect(covers(index, value)).toBe(within);
    expect(count.reads).toBeLessThanOrEqual(15);
  }
});

it('agrees with net.BlockList', () => {
  const range = fc
    .tuple(fc.nat(3), fc.nat(3), fc.nat(7), fc.integer({ min: 22, max: 32 }))
    .map(([b, c, d, prefix]) => {
      const value = ((10 << 24) | (b << 16) | (c << 8) | d) & (prefix === 0 ? 0 : -1 << (32 - prefix));
      return { address: [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.'), prefix };
    });
  const probe = fc.tuple(fc.nat(3), fc.nat(4), fc.nat(9)).map(([b, c, d]) => `10.${b}.${c}.${d}`);
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), fc.array(probe, { maxLength: 20 }), (ranges, probes) => {
      const theirs = new BlockList();
      for (const { address, prefix } of ranges) theirs.addSubnet(address, prefix, 'ipv4');
      const list = new IpList(ranges.map(({ address, prefix }) => normalRange(`${address}/${prefix}`)));
      for (const text of probes) expect([text, list.has(at(text))]).toEqual([text, theirs.check(text)]);
    }),
  );
});
