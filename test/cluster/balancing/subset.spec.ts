import { hashOf } from '../../../lib/cluster/balancing/hash.js';
import { type KeyedSubset, type OrdinalSubset, subsetOf } from '../../../lib/cluster/balancing/subset.js';
import { equalServers, seeded } from './fleet.js';

const ADDRESSES = equalServers(1_000).map(({ address }) => address);
const CLIENTS = 10_000;

const KEYED: KeyedSubset = { size: 20, key: 'client-7' };
const ORDINAL: OrdinalSubset = { size: 20, ordinal: 7, clients: CLIENTS };

/** Connections of the server with the most, relative to the mean. */
function peak(
  addresses: readonly string[],
  optionsOf: (client: number) => KeyedSubset | OrdinalSubset,
  clients = CLIENTS,
): number {
  const counts = new Map(addresses.map((address) => [address, 0]));
  let sum = 0;
  for (let client = 0; client < clients; client += 1)
    for (const address of subsetOf(addresses, optionsOf(client))) {
      counts.set(address, counts.get(address)! + 1);
      sum += 1;
    }
  return Math.max(...counts.values()) / (sum / addresses.length);
}

function changed(before: readonly string[], after: readonly string[]): number {
  return before.filter((address) => !after.includes(address)).length;
}

it.each<[string, KeyedSubset | OrdinalSubset]>([
  ['key', KEYED],
  ['ordinal', ORDINAL],
])('by %s: sets in, sets out', (_by, options) => {
  const random = seeded(2);
  const subset = subsetOf(ADDRESSES, options);
  expect(new Set(subset).size).toBe(20);
  const shuffled = [...ADDRESSES, ...ADDRESSES.slice(0, 30)].toSorted(() => random() - 0.5);
  expect(subsetOf(shuffled, options)).toEqual(subset);
  expect(subsetOf(new Set(shuffled), options)).toEqual(subset);
  expect(subsetOf([], options)).toEqual([]);
  for (const size of [1_000, 1_001, 1e9])
    expect(subsetOf(ADDRESSES, { ...options, size }).toSorted()).toEqual(ADDRESSES.toSorted());
  expect(subsetOf(['a', 'a', 'b'], { ...options, size: 2 }).toSorted()).toEqual(['a', 'b']);
  expect(subsetOf(['a', 'b'], { ...options, size: 1 })).toHaveLength(1);
});

it('by ordinal: the order of two servers of the same hash does not depend on the order of the list', () => {
  const twins = ['host-7n14iq-1rhp:9000', 'host-1f1jweq-21i9:9000'];
  expect(hashOf(twins[0]!)).toBe(hashOf(twins[1]!));
  const all = [...ADDRESSES.slice(0, 50), ...twins];
  const options = { size: 52, ordinal: 0, clients: 1 };
  expect(subsetOf(all.toReversed(), options)).toEqual(subsetOf(all, options));
});

it('by key: a server that goes or comes changes at most one member', () => {
  const before = subsetOf(ADDRESSES, KEYED);
  for (const gone of ADDRESSES) {
    const after = subsetOf(
      ADDRESSES.filter((each) => each !== gone),
      KEYED,
    );
    expect(changed(before, after)).toBe(before.includes(gone) ? 1 : 0);
  }
  for (let i = 0; i < 300; i += 1)
    expect(changed(before, subsetOf([...ADDRESSES, `new-${i}:1`], KEYED))).toBeLessThanOrEqual(1);
});

it('by key: 10,000 clients of 20 have at most 1.25 times the mean at each of 1,000 servers', () => {
  expect(peak(ADDRESSES, (client) => ({ size: 20, key: `client-${client}` }))).toBeLessThanOrEqual(1.25);
});

it('by ordinal: 10,000 clients of 20 have 200 connections to each of 1,000 servers', () => {
  expect(peak(ADDRESSES, (ordinal) => ({ size: 20, ordinal, clients: CLIENTS }))).toBe(1);
});

it.each([
  [7, 3, 5],
  [10, 4, 3],
  [13, 13, 50],
  [97, 20, 1_003],
  [5, 2, 1],
])(
  'by ordinal: of %i servers with subsets of %i none has two of %i clients more than another',
  (count, size, clients) => {
    const addresses = ADDRESSES.slice(0, count);
    const counts = new Map(addresses.map((address) => [address, 0]));
    for (let ordinal = 0; ordinal < clients; ordinal += 1)
      for (const address of subsetOf(addresses, { size, ordinal, clients }))
        counts.set(address, counts.get(address)! + 1);
    expect(Math.max(...counts.values()) - Math.min(...counts.values())).toBeLessThanOrEqual(1);
  },
);

it('by ordinal: a server that goes changes at most one member, two of the few that pass the end of the ring', () => {
  const addresses = ADDRESSES.slice(0, 60);
  const size = 10;
  const clients = 101;
  let two = 0;
  for (let ordinal = 0; ordinal < clients; ordinal += 1) {
    const before = subsetOf(addresses, { size, ordinal, clients });
    for (const gone of addresses) {
      const changes = changed(
        before,
        subsetOf(
          addresses.filter((each) => each !== gone),
          { size, ordinal, clients },
        ),
      );
      const passesTheEnd = Math.floor((ordinal * 60) / clients) + size > 60;
      expect(changes).toBeLessThanOrEqual(passesTheEnd ? 2 : 1);
      if (changes === 2) two += 1;
    }
  }
  expect(two).toBeLessThanOrEqual(clients * 60 * 0.002);
});

it.each([
  [{ ...KEYED, size: 0 }, 'subset.size must be an integer of at least 1, got 0'],
  [{ ...KEYED, size: 1.5 }, 'subset.size must be an integer of at least 1, got 1.5'],
  [{ ...KEYED, size: '20' }, 'subset.size must be an integer of at least 1, got 20'],
  [{ ...KEYED, size: Number.NaN }, 'subset.size must be an integer of at least 1, got NaN'],
  [{ ...ORDINAL, clients: 0 }, 'subset.clients must be an integer of at least 1, got 0'],
  [{ ...ORDINAL, ordinal: CLIENTS }, 'subset.ordinal must be an integer from 0 to 9999, got 10000'],
  [{ ...ORDINAL, ordinal: -1 }, 'subset.ordinal must be an integer from 0 to 9999, got -1'],
])('refuses %j', (options, message) => {
  expect(() => subsetOf(ADDRESSES, options as KeyedSubset | OrdinalSubset)).toThrow(new RangeError(message));
});
