/**
 * A uniform sample of bounded size out of any number of values (algorithm R): what it costs does not depend on
 * how fast a peer is.
 */
export class Reservoir {
  private readonly samples: Float64Array;
  private seen = 0;

  constructor(capacity = 16_384) {
    this.samples = new Float64Array(capacity);
  }

  add(value: number): void {
    const { samples } = this;
    const slot = this.seen < samples.length ? this.seen : Math.floor(Math.random() * (this.seen + 1));
    if (slot < samples.length) samples[slot] = value;
    this.seen += 1;
  }

  /** The values below which the given shares of the sample lie; NaN where nothing was sampled. */
  quantiles(shares: readonly number[]): number[] {
    const sorted = this.samples.subarray(0, Math.min(this.seen, this.samples.length)).toSorted();
    return shares.map((share) => sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN);
  }
}
