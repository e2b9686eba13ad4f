import { type IpAddress, type IpRange, parseRange } from './ip-range.js';

/**
 * A list of addresses and CIDR ranges, of any size: a look-up is a binary search. (Node's `net.BlockList` tries each
 * of its rules, 60 to 280 us for 10,000, and cannot remove one.)
 */
export class IpList {
  /** By the text that was added. */
  readonly #entries = new Map<string, IpRange>();
  #index = EMPTY;

  /**
   * @param before a list with mostly the same entries, which need not be read again
   * @throws RangeError that names the malformed entry
   */
  constructor(entries: Iterable<string> = [], before?: IpList) {
    const known = before ? before.#entries : this.#entries;
    for (const entry of entries) this.#entries.set(entry, known.get(entry) ?? parseRange(entry));
    this.#sort();
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The entries, as they were added. */
  entries(): string[] {
    return [...this.#entries.keys()];
  }

  /** @throws RangeError that names the malformed entry; nothing is added then. */
  add(entries: Iterable<string>): void {
    const parsed = Array.from(entries, (entry) => [entry, parseRange(entry)] as const);
    for (const [entry, range] of parsed) this.#entries.set(entry, range);
    this.#sort();
  }

  /** Removes entries that cover the same addresses, however they were written. Others stay as they are. */
  remove(entries: Iterable<string>): void {
    const gone = new Set(Array.from(entries, (entry) => keyOf(parseRange(entry))));
    for (const [entry, range] of this.#entries) if (gone.has(keyOf(range))) this.#entries.delete(entry);
    this.#sort();
  }

  has({ family, value }: IpAddress): boolean {
    return covers(this.#index[family], value);
  }

  /** Done now and not with the next connection, which would have to wait. */
  #sort(): void {
    const ranges = [...this.#entries.values()];
    this.#index = { 4: indexOf(ranges, 4), 6: indexOf(ranges, 6) };
  }
}

/** Ranges that do not touch, in order. */
export interface RangeIndex {
  readonly firsts: ArrayLike<bigint>;
  readonly lasts: ArrayLike<bigint>;
}

/** Whether one of the ranges contains the value. */
export function covers({ firsts, lasts }: RangeIndex, value: bigint): boolean {
  let low = 0;
  let high = firsts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((firsts[middle] as bigint) <= value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && value <= (lasts[low - 1] as bigint);
}

const EMPTY: Readonly<Record<4 | 6, RangeIndex>> = {
  4: { firsts: [], lasts: [] },
  6: { firsts: [], lasts: [] },
};

function indexOf(ranges: readonly IpRange[], family: 4 | 6): RangeIndex {
  const sorted = ranges
    .filter((range) => range.family === family)
    .toSorted((a, b) => (a.first < b.first ? -1 : Number(a.first > b.first)));
  const firsts: bigint[] = [];
  const lasts: bigint[] = [];
  for (const { first, last } of sorted) {
    const before = lasts.at(-1);
    if (before === undefined || first > before + 1n) {
      firsts.push(first);
      lasts.push(last);
    } else if (last > before) lasts[lasts.length - 1] = last;
  }
  return { firsts, lasts };
}

function keyOf({ family, first, last }: IpRange): string {
  return `${family}:${first}-${last}`;
}
