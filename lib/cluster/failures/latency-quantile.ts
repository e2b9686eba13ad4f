/** Buckets of an octave: the answer is at most a fifth too long. */
const PER_OCTAVE = 4;
/** Upper end of the first bucket, in milliseconds. */
const FIRST_MS = 0.0625;
/** Up to 1.2 hours; what takes longer counts as that. */
const BUCKETS = 26 * PER_OCTAVE + 1;
/** Then all counts are halved, so that the latency of today outweighs that of yesterday. */
const HALVED_AT = 512;
/** Answers after which the quantile is computed again; sooner while there are few. */
const STALE_AFTER = 16;

/**
 * A quantile of the last hundreds of latencies, from a histogram with logarithmic buckets. Recording costs a logarithm and
 * allocates nothing.
 */
export class LatencyQuantile {
  readonly #counts = new Uint16Array(BUCKETS);
  #total = 0;
  #value = 0;
  /** Answers since the value was computed. */
  #fresh = STALE_AFTER;

  /** @param quantile between 0 and 1 */
  constructor(private readonly quantile: number) {}

  /** Latencies that count, at most 512. */
  get count(): number {
    return this.#total;
  }

  /** @param ms what is not a number above 0 counts as 0 */
  record(ms: number): void {
    const octaves = ms > FIRST_MS ? Math.log2(ms / FIRST_MS) : 0;
    const index = Math.min(BUCKETS - 1, Math.ceil(octaves * PER_OCTAVE));
    (this.#counts[index] as number) += 1;
    this.#total += 1;
    this.#fresh += 1;
    if (this.#total >= HALVED_AT) this.#halve();
  }

  /** A time that this part of the calls does not exceed: the upper end of a bucket. 0 without any. */
  value(): number {
    if (this.#fresh < Math.min(STALE_AFTER, this.#total / 4)) return this.#value;
    this.#fresh = 0;
    const rank = this.quantile * this.#total;
    let sum = 0;
    let index = -1;
    while (sum < rank) sum += this.#counts[++index] as number;
    this.#value = index < 0 ? 0 : FIRST_MS * 2 ** (index / PER_OCTAVE);
    return this.#value;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#total = 0;
    this.#fresh = STALE_AFTER;
  }

  #halve(): void {
    this.#total = 0;
    for (let i = 0; i < BUCKETS; i++) {
      const half = (this.#counts[i] as number) >>> 1;
      this.#counts[i] = half;
      this.#total += half;
    }
  }
}
