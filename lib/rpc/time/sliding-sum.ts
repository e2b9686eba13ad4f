/**
 * How often something happened in a window that ends now. The window moves by buckets: the oldest one is forgotten as a whole.
 * Allocates nothing.
 */
export class SlidingSum {
  readonly #counts: Float64Array;
  #sum = 0;
  /** Number of the current bucket, counted from time 0 of the clock. */
  #current: number;

  constructor(
    private readonly buckets: number,
    private readonly bucketMs: number,
    now: number,
  ) {
    this.#counts = new Float64Array(buckets);
    this.#current = Math.floor(now / bucketMs);
  }

  /** It happened. */
  add(now: number): void {
    this.#advance(now);
    (this.#counts[this.#current % this.buckets] as number) += 1;
    this.#sum += 1;
  }

  /** How often it happened in the window. */
  at(now: number): number {
    this.#advance(now);
    return this.#sum;
  }

  #advance(at: number): void {
    const now = Math.floor(at / this.bucketMs);
    if (now <= this.#current) return;
    const from = Math.max(this.#current, now - this.buckets);
    for (let bucket = from + 1; bucket <= now; bucket += 1) {
      const index = bucket % this.buckets;
      this.#sum -= this.#counts[index] as number;
      this.#counts[index] = 0;
    }
    this.#current = now;
  }
}
