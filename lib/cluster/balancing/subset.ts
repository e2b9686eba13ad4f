import { hashOf, mixed, secondHashOf } from './hash.js';

/** Which of many servers one client connects to. */
export interface SubsetOptions {
  /** Number of servers: an integer of at least 1. All are used if there are no more. */
  readonly size: number;
}

/** By the client's own name: any name that the other clients do not have, and that it keeps when it restarts. */
export interface KeyedSubset extends SubsetOptions {
  readonly key: string;
}

/** By the client's number among all clients, as that of a pod of a StatefulSet. */
export interface OrdinalSubset extends SubsetOptions {
  /** From 0 to `clients - 1`. */
  readonly ordinal: number;
  /** Number of all clients: the same at each of them. */
  readonly clients: number;
}

/** A score of 32 bits and an index below this are one exact number. */
const INDEXES = 2 ** 21;

/**
 * The servers that a client uses of all that there are, so that it need not connect to each. Duplicates count once, and the order of
 * the list does not matter.
 *
 * By `key` (rendezvous hashing): a server that goes or comes changes at most one member. Clients choose independently, so their numbers
 * differ by server: with 1,000 servers and 10,000 clients of size 20, the server with the most has about 1.24 times the mean.
 *
 * By `ordinal`: the numbers of clients of any two servers differ by at most one. The servers stand in a ring in the order of
 * their hashes, clients at equal distances, and each takes the next `size`. A server that goes or comes changes at most
 * one member, or two of a client that takes both the last and the first of the ring (2 % of the clients at 1,000 servers and size 20).
 * Another number of `clients` changes the subsets of most.
 *
 * @throws RangeError if an option is not a number of its range
 */
export function subsetOf(addresses: Iterable<string>, options: KeyedSubset | OrdinalSubset): string[] {
  requireInteger('size', options.size, 1, Infinity);
  const all = [...new Set(addresses)];
  return 'key' in options ? byKey(all, options) : byOrdinal(all, options);
}

function byKey(addresses: readonly string[], { size, key }: KeyedSubset): string[] {
  const first = hashOf(key);
  const second = secondHashOf(key);
  return lowest(addresses, size, (address) => {
    const hashes = hashesOf(address);
    return mixed(mixed(first ^ hashes.first) ^ second ^ hashes.second);
  });
}

interface Hashes {
  readonly first: number;
  readonly second: number;
}

/** More addresses than a client knows at a time: to hash them costs most of a subset. */
const KEPT_HASHES = 4_096;
const HASHES = new Map<string, Hashes>();

function hashesOf(address: string): Hashes {
  const known = HASHES.get(address);
  if (known) return known;
  // all at once: a list of more is hashed again at each change, as it would be without this
  if (HASHES.size >= KEPT_HASHES) HASHES.clear();
  const hashes = { first: hashOf(address), second: secondHashOf(address) };
  HASHES.set(address, hashes);
  return hashes;
}

function byOrdinal(addresses: readonly string[], { size, ordinal, clients }: OrdinalSubset): string[] {
  requireInteger('clients', clients, 1, Infinity);
  requireInteger('ordinal', ordinal, 0, clients - 1);
  const ring = lowest(addresses, Infinity, (address) => hashesOf(address).first);
  const start = Math.floor((ordinal * ring.length) / clients);
  return Array.from(
    { length: Math.min(size, ring.length) },
    (_, i) => ring[(start + i) % ring.length] as string,
  );
}

/** Those with the lowest scores, in their order; of equal scores the lower address first. */
function lowest(addresses: readonly string[], count: number, scoreOf: (address: string) => number): string[] {
  // numbers sort without a comparator: many clients with many servers are simulated
  const keys = new Float64Array(addresses.length);
  addresses.forEach((address, index) => (keys[index] = scoreOf(address) * INDEXES + index));
  keys.sort();
  const sorted = Array.from(keys, (key) => addresses[key % INDEXES] as string);
  for (let i = 1; i < sorted.length; i += 1) settleTie(keys, sorted, i);
  return sorted.slice(0, count);
}

/** Moves an address before those of the same score that are higher. */
function settleTie(keys: Float64Array, sorted: string[], index: number): void {
  const score = Math.floor((keys[index] as number) / INDEXES);
  for (let i = index; i > 0 && Math.floor((keys[i - 1] as number) / INDEXES) === score; i -= 1) {
    const [before, address] = [sorted[i - 1] as string, sorted[i] as string];
    if (before < address) return;
    sorted[i - 1] = address;
    sorted[i] = before;
  }
}

function requireInteger(name: string, value: unknown, least: number, most: number): void {
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most) return;
  const range = most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`;
  throw new RangeError(`subset.${name} must be an integer ${range}, got ${String(value)}`);
}
