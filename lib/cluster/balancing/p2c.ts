import type { BalancerOptions, Candidate, PickedCall } from './balancer.js';
import { FleetEstimates, FRESH_REPORT_MS } from './fleet-estimates.js';
import { TieredBalancer } from './tiers.js';
import { LEAST_LATENCY_MS, loadOf, type Traffic } from './traffic.js';
import { WeightedDraw } from './weighted-draw.js';

/** For so long after it has joined, a server gets fewer calls: its caches are cold. */
const RAMP_MS = 10_000;
/** After a failure, what the server says of its load is not believed for so long: who fails fast has little load. */
const DISTRUST_MS = 10_000;
/** `mos` comes with the answers to pings, and so much more rarely than reports of load. */
const FRESH_MOS_MS = 60_000;
/** A server that refuses more than this share is worse than a hot one: its calls in flight are few because it refuses. */
const MAX_REFUSED = 0.1;
const COLD = 0;
const HOT = 1;
const REFUSING = 2;
const STALLED = 3;
/** A server whose latency, as this client sees it or as it reports, is so many times the median is worse than a hot one. */
const STALLED_FACTOR = 3;
/** The same of one whose calls, added up, have waited for so many times the median: by chance none of them ends for that long once in 400 times. */
const SILENT_FACTOR = 6;
/** Below, multiples say nothing: a pause of the garbage collector is as long. */
const LEAST_MEDIAN_MS = 1;

/**
 * Power of two choices: of two random servers the better one. Both have reported their load a moment ago: the rule of Google's
 * Prequal, cold before hot, the lower latency (as it is to be expected with the calls in flight now) of two cold ones, fewer calls in
 * flight of two hot ones; behind them one whose answers this client waits for far longer than for others'. Else the lower product of peak EWMA
 * latency and calls in flight, as in Finagle. Of two cold ones whose reports are old compared with what calls take, the one that has been
 * less loaded is picked more often.
 */
export class P2c<C extends Candidate = Candidate> extends TieredBalancer<C> {
  readonly #estimates: FleetEstimates;
  #draw: WeightedDraw<C> | undefined;
  /** When the first and the last of the servers joined. */
  #eldest = 0;
  #youngest = 0;

  constructor(options: BalancerOptions) {
    super(options);
    this.#estimates = new FleetEstimates(options.random);
  }

  protected updated(): void {
    const now = this.options.now();
    this.#draw = new WeightedDraw(this.active, this.weights, this.options.random);
    this.#estimates.reset(this.active.length);
    this.#eldest = Infinity;
    this.#youngest = -Infinity;
    for (const { traffic } of this.active) {
      if (Number.isNaN(traffic.joinedAt)) traffic.joinedAt = now;
      this.#eldest = Math.min(this.#eldest, traffic.joinedAt);
      this.#youngest = Math.max(this.#youngest, traffic.joinedAt);
    }
  }

  protected choose(_call: PickedCall, avoid: ReadonlySet<C> | undefined): C | undefined {
    const draw = this.#draw as WeightedDraw<C>;
    const first = draw.draw(avoid);
    const second = first === -1 ? -1 : draw.draw(avoid, first);
    if (second === -1) return this.active[first];
    const a = this.active[first] as C;
    const b = this.active[second] as C;
    const now = this.options.now();
    // if all are new, none has to wait for the others
    if (now < this.#youngest + RAMP_MS && now >= this.#eldest + RAMP_MS) {
      const isAOut = this.#waits(a.traffic, now);
      if (isAOut !== this.#waits(b.traffic, now)) return isAOut ? b : a;
    }
    this.#estimates.refresh(this.active, now, a.traffic.hasHistory || b.traffic.hasHistory);
    return this.#compare(first, second, now) > 0 ? b : a;
  }

  /** A server that joins takes part in more and more picks. */
  #waits(traffic: Traffic, now: number): boolean {
    const age = now - traffic.joinedAt;
    return age < RAMP_MS && this.options.random() * RAMP_MS >= age;
  }

  /** Above 0 if the second is better. */
  #compare(first: number, second: number, now: number): number {
    const a = (this.active[first] as C).traffic;
    const b = (this.active[second] as C).traffic;
    const weightOfA = this.weights[first] as number;
    const weightOfB = this.weights[second] as number;
    if (!isTrusted(a, now) || !isTrusted(b, now))
      return this.#cost(a, now) / weightOfA - this.#cost(b, now) / weightOfB;
    const heatOfA = this.#heat(a, now);
    const heatOfB = this.#heat(b, now);
    if (heatOfA !== heatOfB) return heatOfA - heatOfB;
    if (heatOfA === STALLED) return this.#cost(a, now) / weightOfA - this.#cost(b, now) / weightOfB;
    const byLoad = a.knownInFlight / weightOfA - b.knownInFlight / weightOfB;
    const byLatency = this.#expected(a, b, now) / weightOfA - this.#expected(b, a, now) / weightOfB;
    if (heatOfA !== COLD) return byLoad || byLatency;
    const isGuess = this.#isUnsure(a, b, now);
    return (isGuess && this.#guess(a, b, weightOfB / weightOfA)) || byLatency || byLoad;
  }

  /** With the probability that a call is no longer there: one of the calls that other clients had in flight at the last report. */
  #isUnsure(a: Traffic, b: Traffic, now: number): boolean {
    const known = a.knownInFlight + b.knownInFlight;
    return this.options.random() * known >= a.surelyInFlight(now) + b.surelyInFlight(now);
  }

  /**
   * All clients have the same reports: if each picked the server that looks better, that would get all calls until its next report. So the
   * better one is only picked more often: by how much less loaded it is now, and much more by how it has been in the last seconds.
   *
   * @returns `NaN` if one has not reported all that it takes
   */
  #guess(a: Traffic, b: Traffic, weights: number): number {
    const now = (reportedLoad(a) / reportedLoad(b)) * weights;
    const usual = (a.usualLoad / b.usualLoad) * weights;
    const odds = now * (usual * usual) * (usual * usual);
    return this.options.random() * (1 + odds * odds) - 1;
  }

  #heat(traffic: Traffic, now: number): number {
    const { medianMs, medianReportedMs, hotAbove } = this.#estimates;
    // its report may say nothing of calls that hang: only those that end have a latency
    const usual = Math.max(LEAST_MEDIAN_MS, medianMs);
    if (traffic.latencyMs(now, medianMs) > STALLED_FACTOR * usual) return STALLED;
    // latencies as a client sees them are peaks, among which a slow server is hard to tell
    const usualReported = Math.max(LEAST_MEDIAN_MS, medianReportedMs);
    if ((traffic.report?.latencyMs ?? 0) > STALLED_FACTOR * usualReported) return STALLED;
    const isSilent = traffic.waitedMs(now) > usualReported;
    if (isSilent && traffic.allWaitedMs(now) > SILENT_FACTOR * usualReported) return STALLED;
    if ((traffic.report?.refused ?? 0) > MAX_REFUSED) return REFUSING;
    return traffic.surelyInFlight(now) > hotAbove ? HOT : COLD;
  }

  /** The latency that the server reports if both do, else as this client sees it, with the calls that are in flight now. */
  #expected(traffic: Traffic, other: Traffic, now: number): number {
    const reported = other.report?.latencyMs === undefined ? undefined : traffic.report?.latencyMs;
    const latency =
      reported === undefined
        ? traffic.latencyMs(now, this.#estimates.medianMs)
        : Math.max(reported, traffic.waitedMs(now));
    return latency * (traffic.knownInFlight + 1);
  }

  #cost(traffic: Traffic, now: number): number {
    const latency = traffic.latencyMs(now, this.#estimates.medianMs) + LEAST_LATENCY_MS;
    return latency * (traffic.inFlight + 1) * ailing(traffic, now);
  }
}

/** By the last report, and what this client has in flight now. */
function reportedLoad({ report, knownInFlight }: Traffic): number {
  return loadOf(report?.latencyMs ?? 0, knownInFlight);
}

function isTrusted({ report, reportedAt, failedAt }: Traffic, now: number): boolean {
  return (
    report?.inFlight !== undefined && now - reportedAt <= FRESH_REPORT_MS && now - failedAt >= DISTRUST_MS
  );
}

/** How much worse a server is than it looks: 1 to 10 by its `mos`, 1 to 10 by the share that it refuses. */
function ailing({ report, reportedAt }: Traffic, now: number): number {
  if (report === undefined || now - reportedAt > FRESH_MOS_MS) return 1;
  const byMos = report.mos === undefined ? 1 : 5 / Math.min(5, Math.max(0.5, report.mos));
  if (report.refused === undefined || now - reportedAt > FRESH_REPORT_MS) return byMos;
  return byMos / Math.min(1, Math.max(0.1, 1 - report.refused));
}
