/** A binary heap of the servers 0 to n-1 by a number of each, the lowest first. Nothing is allocated after it is made. */
export class PickHeap<C> {
  /** Equal keys are ordered by these. */
  readonly #ties: Float64Array;
  /** Place in the heap -> server, and back. */
  readonly #heap: Int32Array;
  readonly #places: Int32Array;

  constructor(
    private readonly items: readonly C[],
    /** Changed only by `set`. */
    private readonly keys: Float64Array,
    random: () => number,
  ) {
    const count = items.length;
    this.#ties = Float64Array.from(items, () => -random());
    this.#heap = Int32Array.from(items, (_item, index) => index);
    this.#places = Int32Array.from(this.#heap);
    for (let place = (count >> 1) - 1; place >= 0; place -= 1) this.#sink(place);
  }

  /** The first that is not to be avoided; -1 if there is none. */
  first(avoid: ReadonlySet<C> | undefined): number {
    return this.items.length === 0 ? -1 : this.#firstFrom(0, avoid);
  }

  keyOf(server: number): number {
    return this.keys[server] as number;
  }

  set(server: number, key: number): void {
    this.keys[server] = key;
    this.#moved(server);
  }

  /** It comes after all with the same key whose last `tie` was lower. */
  setTie(server: number, tie: number): void {
    this.#ties[server] = tie;
    this.#moved(server);
  }

  #moved(server: number): void {
    this.#rise(this.#places[server] as number);
    this.#sink(this.#places[server] as number);
  }

  /** Looks only at those to be avoided and their children. */
  #firstFrom(place: number, avoid: ReadonlySet<C> | undefined): number {
    if (place >= this.#heap.length) return -1;
    const server = this.#heap[place] as number;
    if (!avoid?.has(this.items[server] as C)) return server;
    const left = this.#firstFrom(2 * place + 1, avoid);
    const right = this.#firstFrom(2 * place + 2, avoid);
    if (left === -1 || right === -1) return Math.max(left, right);
    return this.#isBefore(right, left) ? right : left;
  }

  #isBefore(a: number, b: number): boolean {
    const keyOfA = this.keys[a] as number;
    const keyOfB = this.keys[b] as number;
    return keyOfA < keyOfB || (keyOfA === keyOfB && (this.#ties[a] as number) < (this.#ties[b] as number));
  }

  #rise(from: number): void {
    let place = from;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!this.#isBefore(this.#heap[place] as number, this.#heap[parent] as number)) return;
      this.#swap(place, parent);
      place = parent;
    }
  }

  #sink(from: number): void {
    const heap = this.#heap;
    let place = from;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= heap.length) return;
      if (child + 1 < heap.length && this.#isBefore(heap[child + 1] as number, heap[child] as number))
        child += 1;
      if (!this.#isBefore(heap[child] as number, heap[place] as number)) return;
      this.#swap(place, child);
      place = child;
    }
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap;
    const atA = heap[a] as number;
    const atB = heap[b] as number;
    heap[a] = atB;
    heap[b] = atA;
    this.#places[atA] = b;
    this.#places[atB] = a;
  }
}
