const INITIAL_CAPACITY = 16;
/** The table does not grow further; more entries overflow. */
const MAX_CAPACITY = 4096;
/** The id of an empty slot; never a correlation id. */
const FREE = -1;

/**
 * Values by correlation id, for ids assigned in sequence: each id maps to a slot of an array, and the few whose slot is
 * taken by an older id overflow into a `Map`.
 *
 * Not a `Map` alone: V8 rehashes one that is constantly filled and emptied every few hundred entries, and each discarded
 * table references its entries and the next table. Once one of them is in the old generation, all later calls live until
 * the next full collection, which costs more than the calls themselves.
 */
export class IdTable<T> {
  #size = 0;
  #mask = INITIAL_CAPACITY - 1;
  #ids: number[] = Array.from({ length: INITIAL_CAPACITY }, () => FREE);
  #values: (T | undefined)[] = Array.from({ length: INITIAL_CAPACITY }, () => undefined);
  /** Entries whose slot was taken. */
  readonly #overflow = new Map<number, T>();

  get size(): number {
    return this.#size;
  }

  has(id: number): boolean {
    return (id !== FREE && this.#ids[this.#slot(id)] === id) || this.#overflow.has(id);
  }

  get(id: number): T | undefined {
    const slot = this.#slot(id);
    if (this.#ids[slot] === id) return this.#values[slot];
    return this.#overflow.size > 0 ? this.#overflow.get(id) : undefined;
  }

  set(id: number, value: T): void {
    if (this.has(id)) this.delete(id);
    if (this.#size * 2 > this.#mask && this.#mask < MAX_CAPACITY - 1) this.#grow();
    this.#put(id, value);
    this.#size += 1;
  }

  /** @returns whether the id was there */
  delete(id: number): boolean {
    const slot = this.#slot(id);
    if (id !== FREE && this.#ids[slot] === id) {
      this.#ids[slot] = FREE;
      this.#values[slot] = undefined;
    } else if (!this.#overflow.delete(id)) return false;
    this.#size -= 1;
    return true;
  }

  /** A snapshot, in the order of the ids. */
  values(): T[] {
    return this.#entries()
      .toSorted(([a], [b]) => a - b)
      .map(([, value]) => value);
  }

  /** Drops the lowest bit: the ids of one side are all odd, or all even. */
  #slot(id: number): number {
    return (id >>> 1) & this.#mask;
  }

  #put(id: number, value: T): void {
    const slot = this.#slot(id);
    if (this.#ids[slot] === FREE) {
      this.#ids[slot] = id;
      this.#values[slot] = value;
    } else this.#overflow.set(id, value);
  }

  #grow(): void {
    const entries = this.#entries();
    const capacity = (this.#mask + 1) * 2;
    this.#mask = capacity - 1;
    this.#ids = Array.from({ length: capacity }, () => FREE);
    this.#values = Array.from({ length: capacity }, () => undefined);
    this.#overflow.clear();
    for (const [id, value] of entries) this.#put(id, value);
  }

  #entries(): [number, T][] {
    const inSlots = this.#ids.flatMap((id, slot): [number, T][] =>
      id === FREE ? [] : [[id, this.#values[slot] as T]],
    );
    return [...inSlots, ...this.#overflow];
  }
}
