import type { Candidate } from './balancer.js';

/** Estimates are at most this old; a pick that refreshes them looks at no more than so many servers. */
const REFRESH_MS = 100;
const MAX_SAMPLES = 128;
/** A server is hot if it has so many times the calls in flight of the median, with one more counted at each: a single call makes none hot. */
const HOT_FACTOR = 2;
/**
 * A server reports each 250 ms to those who use it. Of many clients each uses a server once in some seconds: a report as old as that still
 * tells a busy server from one that is not.
 */
export const FRESH_REPORT_MS = 5_000;

/** What is usual among the servers: the latency of the median, and how many calls in flight are many. */
export class FleetEstimates {
  /** Median of the latencies in milliseconds; 0 as long as none is known. */
  medianMs = 0;
  /** Median of the latencies that servers report, in milliseconds; 0 if none does. */
  medianReportedMs = 0;
  /** Servers with more calls in flight than this are hot. */
  hotAbove = Infinity;
  #refreshedAt = -Infinity;
  #knowsLatency = false;
  #latencies = new Float64Array(0);
  #reported = new Float64Array(0);
  #inFlight = new Float64Array(0);

  constructor(private readonly random: () => number) {}

  /** Does nothing if the estimates are new enough. `hasLatency`: one of the candidates is known to have one. */
  refresh(candidates: readonly Candidate[], now: number, hasLatency: boolean): void {
    const isNew = now - this.#refreshedAt < REFRESH_MS && now >= this.#refreshedAt;
    // until the first latency is known, servers without history would seem infinitely fast beside those with one
    if (isNew && (this.#knowsLatency || !hasLatency)) return;
    this.#refreshedAt = now;
    this.#sample(candidates, now);
  }

  /** There are so many candidates from now on; the next pick looks again. */
  reset(candidates: number): void {
    this.#refreshedAt = -Infinity;
    const samples = Math.min(candidates, MAX_SAMPLES);
    if (samples === this.#latencies.length) return;
    this.#latencies = new Float64Array(samples);
    this.#reported = new Float64Array(samples);
    this.#inFlight = new Float64Array(samples);
  }

  #sample(candidates: readonly Candidate[], now: number): void {
    const { length } = candidates;
    const samples = Math.min(length, MAX_SAMPLES);
    const step = length / samples;
    const start = samples < length ? this.random() * step : 0;
    let latencies = 0;
    let reported = 0;
    let reports = 0;
    for (let i = 0; i < samples; i += 1) {
      const { traffic } = candidates[Math.floor(start + i * step)] as Candidate;
      if (traffic.hasHistory) {
        this.#latencies[latencies] = traffic.latencyMs(now, this.medianMs);
        latencies += 1;
      }
      const { report } = traffic;
      if (report?.inFlight === undefined || now - traffic.reportedAt > FRESH_REPORT_MS) continue;
      if (report.latencyMs !== undefined) {
        this.#reported[reported] = report.latencyMs;
        reported += 1;
      }
      this.#inFlight[reports] = traffic.knownInFlight;
      reports += 1;
    }
    if (latencies > 0) this.medianMs = median(this.#latencies, latencies);
    if (latencies > 0) this.#knowsLatency = true;
    this.medianReportedMs = reported > 0 ? median(this.#reported, reported) : 0;
    this.hotAbove = reports > 0 ? HOT_FACTOR * (median(this.#inFlight, reports) + 1) - 1 : Infinity;
  }
}

/** Of the first `count` values, which are sorted in place; of two in the middle the higher one. */
function median(values: Float64Array, count: number): number {
  values.fill(Infinity, count).sort();
  return values[count >> 1] as number;
}
