/** Places of a table that is made. */
const FIRST_PLACES = 16;
/** A table grows no further; what has no place then is kept all the same. */
const MOST_PLACES = 4096;
/** No correlation id. */
const FREE = -1;

/**
 * Values by correlation id, for ids that come one after another: each has a place of its own in an array, and the few that
 * meet an older one there are kept aside.
 *
 * Not a `Map`: V8 gives one that is filled and emptied for ever a new table every few hundred entries, and each table
 * that is done with holds on to its entries and to the next one. Once one of them is old, all calls after it live until
 * the next full collection, which costs more than the calls themselves.
 */
export class IdTable<T> {
  #size = 0;
  #mask = FIRST_PLACES - 1;
  #ids: number[] = Array.from({ length: FIRST_PLACES }, () => FREE);
  #values: (T | undefined)[] = Array.from({ length: FIRST_PLACES }, () => undefined);
  /** Those whose place was taken. */
  readonly #aside = new Map<number, T>();

  get size(): number {
    return this.#size;
  }

  has(id: number): boolean {
    return (id !== FREE && this.#ids[this.#place(id)] === id) || this.#aside.has(id);
  }

  get(id: number): T | undefined {
    const place = this.#place(id);
    if (this.#ids[place] === id) return this.#values[place];
    return this.#aside.size > 0 ? this.#aside.get(id) : undefined;
  }

  set(id: number, value: T): void {
    if (this.has(id)) this.delete(id);
    if (this.#size * 2 > this.#mask && this.#mask < MOST_PLACES - 1) this.#grow();
    this.#put(id, value);
    this.#size += 1;
  }

  /** Whether it was there. */
  delete(id: number): boolean {
    const place = this.#place(id);
    if (id !== FREE && this.#ids[place] === id) {
      this.#ids[place] = FREE;
      this.#values[place] = undefined;
    } else if (!this.#aside.delete(id)) return false;
    this.#size -= 1;
    return true;
  }

  /** What is there now, in the order of the ids. */
  values(): T[] {
    return this.#entries()
      .toSorted(([a], [b]) => a - b)
      .map(([, value]) => value);
  }

  /** One side's ids are all odd, or all even. */
  #place(id: number): number {
    return (id >>> 1) & this.#mask;
  }

  #put(id: number, value: T): void {
    const place = this.#place(id);
    if (this.#ids[place] === FREE) {
      this.#ids[place] = id;
      this.#values[place] = value;
    } else this.#aside.set(id, value);
  }

  #grow(): void {
    const entries = this.#entries();
    const places = (this.#mask + 1) * 2;
    this.#mask = places - 1;
    this.#ids = Array.from({ length: places }, () => FREE);
    this.#values = Array.from({ length: places }, () => undefined);
    this.#aside.clear();
    for (const [id, value] of entries) this.#put(id, value);
  }

  #entries(): [number, T][] {
    const placed = this.#ids.flatMap((id, place): [number, T][] =>
      id === FREE ? [] : [[id, this.#values[place] as T]],
    );
    return [...placed, ...this.#aside];
  }
}
