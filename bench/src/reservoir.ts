/**
 * A uniform sample of bounded size out of any number of times (algorithm R): its cost does not depend on
 * the speed of the peer.
 */
export class Reservoir {
  private readonly samples: Float64Array;
  private seen = 0;

  constructor(capacity = 16_384) {
    this.samples = new Float64Array(capacity);
  }

  add(milliseconds: number): void {
    const { samples } = this;
    const slot = this.seen < samples.length ? this.seen : Math.floor(Math.random() * (this.seen + 1));
    if (slot < samples.length) samples[slot] = milliseconds;
    this.seen += 1;
  }

  /** In microseconds; NaN if nothing was sampled. */
  summaryUs(): { p50Us: number; p99Us: number } {
    const sorted = this.samples.subarray(0, Math.min(this.seen, this.samples.length)).toSorted();
    const quantileUs = (share: number): number =>
      (sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN) * 1000;
    return { p50Us: quantileUs(0.5), p99Us: quantileUs(0.99) };
  }
}
