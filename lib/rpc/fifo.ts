/** Items taken before the array is compacted. */
const MIN_CUT = 1024;

/**
 * A FIFO that does not shift its array. Slots of taken items are cleared: a reference left there would promote them to
 * the old generation of the garbage collector.
 */
export class Fifo<T extends object> {
  #items: (T | undefined)[] = [];
  /** Index of the first item. */
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) {
      this.#items.length = 0; // releases the memory, too
      this.#head = 0;
    } else if (this.#head >= MIN_CUT && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** All items, the first one first. */
  toArray(): T[] {
    return this.#items.slice(this.#head) as T[];
  }

  clear(): void {
    this.#items = [];
    this.#head = 0;
  }
}
