/** Draws that hit nothing usable before all servers are looked at. */
const MAX_DRAWS = 8;

/** Draws servers with probabilities in proportion to their weights, in constant time: Walker's alias method, built by Vose's. */
export class WeightedDraw<C> {
  /** Each place is that of one server, shared with one other: the probability that it is its own. */
  readonly #own: Float64Array;
  readonly #other: Int32Array;
  readonly #areEqual: boolean;

  constructor(
    private readonly items: readonly C[],
    private readonly weights: Float64Array,
    private readonly random: () => number,
  ) {
    const count = weights.length;
    this.#own = new Float64Array(count).fill(1);
    this.#other = new Int32Array(count);
    this.#areEqual = weights.every((weight) => weight === weights[0]);
    if (!this.#areEqual) this.#fill();
  }

  /** The index of one that is neither to be avoided nor the one at `except`; -1 if there is none. */
  draw(avoid: ReadonlySet<C> | undefined, except = -1): number {
    const { items } = this;
    if (avoid === undefined && except === -1) return items.length > 0 ? this.#any() : -1;
    for (let i = 0; i < MAX_DRAWS && items.length > 1; i += 1) {
      const index = this.#any();
      if (index !== except && !avoid?.has(items[index] as C)) return index;
    }
    return this.#search(avoid, except);
  }

  #any(): number {
    const place = this.random() * this.items.length;
    const index = Math.floor(place);
    if (this.#areEqual) return index;
    return place - index < (this.#own[index] as number) ? index : (this.#other[index] as number);
  }

  /** The same among few that are left. */
  #search(avoid: ReadonlySet<C> | undefined, except: number): number {
    const { items, weights } = this;
    let chosen = -1;
    let sum = 0;
    for (let index = 0; index < items.length; index += 1) {
      if (index === except || avoid?.has(items[index] as C)) continue;
      const weight = weights[index] as number;
      sum += weight;
      if (chosen === -1 || this.random() * sum < weight) chosen = index;
    }
    return chosen;
  }

  #fill(): void {
    const { weights } = this;
    const scale = weights.length / weights.reduce((sum, weight) => sum + weight, 0);
    const left = weights.map((weight) => weight * scale);
    const small: number[] = [];
    const large: number[] = [];
    left.forEach((weight, index) => (weight < 1 ? small : large).push(index));
    while (small.length > 0 && large.length > 0) {
      const low = small.pop() as number;
      const high = large.at(-1) as number;
      this.#own[low] = left[low] as number;
      this.#other[low] = high;
      left[high] = (left[high] as number) - 1 + (left[low] as number);
      if (left[high] >= 1) continue;
      large.pop();
      small.push(high);
    }
  }
}
