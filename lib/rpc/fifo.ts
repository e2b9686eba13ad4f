/** How many items must have been taken before the array is cut. */
const MIN_CUT = 1024;

/**
 * First in, first out, without shifting an array. What was taken is not kept: items would outlive their time with it, and
 * the garbage collector would move them into its old generation.
 */
export class Fifo<T extends object> {
  #items: (T | undefined)[] = [];
  /** Place of the first item. */
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** The first item, which stays. */
  peek(): T | undefined {
    return this.#items[this.#head];
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) {
      this.#items.length = 0; // lets go of the memory, too
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
