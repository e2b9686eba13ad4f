import { performance } from 'node:perf_hooks';
import { Reservoir } from './reservoir.js';

/** Reading the clock costs as much as a small item, so that only few items are timed. */
const SAMPLE_EVERY = 64;

/** Counts the items of a stream and samples the time from one to the next. */
export class ItemMeter {
  items = 0;

  private readonly gaps = new Reservoir();
  private sampleStartedAt = 0;

  tick(): void {
    const phase = this.items % SAMPLE_EVERY;
    if (phase === 0) this.sampleStartedAt = performance.now();
    else if (phase === 1) this.gaps.add(performance.now() - this.sampleStartedAt);
    this.items += 1;
  }

  summaryUs(): { p50Us: number; p99Us: number } {
    return this.gaps.summaryUs();
  }
}
