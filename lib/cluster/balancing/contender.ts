import { type FleetEstimates, FRESH_REPORT_MS } from './fleet-estimates.js';
import { LEAST_LATENCY_MS, type Traffic } from './traffic.js';

/** After a failure, what the server says of its load is not believed for so long: who fails fast has little load. */
const DISTRUST_MS = 10_000;
/** `mos` comes with the answers to pings, and so much more rarely than reports of load. */
const FRESH_MOS_MS = 60_000;
/** A server that refuses more than this share is worse than a hot one: its calls in flight are few because it refuses. */
const MAX_REFUSED = 0.1;
/** A server whose latency, as this client sees it or as it reports, is so many times the median is worse than a hot one. */
const STALLED_FACTOR = 3;
/** The same of one whose calls, added up, have waited for so many times the median: by chance none of them ends for that long once in 400 times. */
const SILENT_FACTOR = 6;
/** Below, multiples say nothing: a pause of the garbage collector is as long. */
const LEAST_MEDIAN_MS = 1;

/** From the best to the worst. */
export const Heat = { Cold: 0, Hot: 1, Refusing: 2, Stalled: 3 } as const;

/**
 * One of the two servers that a pick compares, as it is at that moment. It is kept from pick to pick, and numbers go through its fields:
 * what a function takes or returns may be put on the heap, and a pick allocates nothing.
 */
export class Contender {
  weight = 1;
  now = 0;
  /** Whether what it has reported of its load is new, and may be believed. */
  isTrusted = false;
  heat: number = Heat.Cold;
  /** Whether its calls wait for far longer than usual. */
  isSilent = false;
  /** How long all its calls together have waited, in milliseconds. */
  allWaitedMs = 0;
  /** Latency times calls in flight, as this client sees them. */
  cost = 0;
  /**
   * The same of stalled ones, by what they report and how long all their calls together have waited. Peaks count little: that of a server
   * which was frozen is high for long, that of one which is frozen now is not.
   */
  stalledCost = 0;
  /** Calls in flight there by its report and since, and those that are there still. */
  knownInFlight = 0;
  surelyInFlight = 0;
  /** Latency that it reports; `NaN` if it reports none. */
  reportedMs = NaN;
  /** Its load in the last seconds, see `Traffic`. */
  usualLoad = NaN;
  /** Latency of a call that is sent now, by what this client sees, and by what the server reports. */
  seenDelayMs = 0;
  reportedDelayMs = NaN;

  /** Looks at the server at the time `now`. */
  look(traffic: Traffic, estimates: FleetEstimates): void {
    const { now } = this;
    const { report } = traffic;
    const latencyMs = traffic.latencyMs(now, estimates.medianMs);
    const waitedMs = traffic.waitedMs(now);
    const usualMs = Math.max(LEAST_MEDIAN_MS, estimates.medianReportedMs);
    this.allWaitedMs = traffic.allWaitedMs(now);
    this.knownInFlight = traffic.knownInFlight;
    this.surelyInFlight = traffic.surelyInFlight(now);
    this.usualLoad = traffic.usualLoad;
    this.reportedMs = report?.latencyMs ?? NaN;
    this.seenDelayMs = latencyMs * (this.knownInFlight + 1);
    // a peak says less than a report, unless it is newer
    const peakMs = traffic.peakAt > traffic.reportedAt ? latencyMs : 0;
    const knownMs = Math.max(this.reportedMs || 0, peakMs);
    this.stalledCost = Math.max(knownMs, this.allWaitedMs) * (this.knownInFlight + 1);
    this.reportedDelayMs = Math.max(this.reportedMs, waitedMs) * (this.knownInFlight + 1);
    this.cost = (latencyMs + LEAST_LATENCY_MS) * (traffic.inFlight + 1) * ailing(traffic, now);
    // its report may say nothing of calls that hang: only those that end have a latency
    const isSlow = latencyMs > STALLED_FACTOR * Math.max(LEAST_MEDIAN_MS, estimates.medianMs);
    // latencies as a client sees them are peaks, among which a slow server is hard to tell
    const saysSlow = this.reportedMs > STALLED_FACTOR * usualMs;
    this.isSilent = waitedMs > usualMs && this.allWaitedMs > SILENT_FACTOR * usualMs;
    if (isSlow || saysSlow || this.isSilent) this.heat = Heat.Stalled;
    else if ((report?.refused ?? 0) > MAX_REFUSED) this.heat = Heat.Refusing;
    else this.heat = this.surelyInFlight > estimates.hotAbove ? Heat.Hot : Heat.Cold;
    const isFresh = report?.inFlight !== undefined && now - traffic.reportedAt <= FRESH_REPORT_MS;
    this.isTrusted = isFresh && now - traffic.failedAt >= DISTRUST_MS;
  }
}

/** How much worse a server is than it looks: 1 to 10 by its `mos`, 1 to 10 by the share that it refuses. */
function ailing({ report, reportedAt }: Traffic, now: number): number {
  if (report === undefined || now - reportedAt > FRESH_MOS_MS) return 1;
  const byMos = report.mos === undefined ? 1 : 5 / Math.min(5, Math.max(0.5, report.mos));
  if (report.refused === undefined || now - reportedAt > FRESH_REPORT_MS) return byMos;
  return byMos / Math.min(1, Math.max(0.1, 1 - report.refused));
}
