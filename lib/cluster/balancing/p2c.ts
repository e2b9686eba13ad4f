import type { BalancerOptions, Candidate, PickedCall } from './balancer.js';
import { FleetEstimates, FRESH_REPORT_MS } from './fleet-estimates.js';
import { TieredBalancer } from './tiers.js';
import type { Traffic } from './traffic.js';
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
/** Calls that took no measurable time must not make the number in flight meaningless. */
const LEAST_LATENCY_MS = 0.001;

/**
 * Power of two choices: of two random servers the better one. Both have reported their load a moment ago: the rule of Google's
 * Prequal, cold before hot, the lower latency of two cold ones, fewer calls in flight of two hot ones. Else the lower product of peak EWMA
 * latency and calls in flight, as in Finagle.
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
    this.#estimates.forget();
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
    const loadOfA = knownInFlight(a);
    const loadOfB = knownInFlight(b);
    const heatOfA = this.#heat(a, loadOfA);
    const heatOfB = this.#heat(b, loadOfB);
    if (heatOfA !== heatOfB) return heatOfA - heatOfB;
    const byLoad = loadOfA / weightOfA - loadOfB / weightOfB;
    const byLatency = this.#latency(a, b, now) / weightOfA - this.#latency(b, a, now) / weightOfB;
    return heatOfA === COLD ? byLatency || byLoad : byLoad || byLatency;
  }

  #heat({ report }: Traffic, load: number): number {
    if ((report?.refused ?? 0) > MAX_REFUSED) return REFUSING;
    return load > this.#estimates.hotAbove ? HOT : COLD;
  }

  /** As the server reports it if both do, else as this client sees it. */
  #latency(traffic: Traffic, other: Traffic, now: number): number {
    const reported = other.report?.latencyMs === undefined ? undefined : traffic.report?.latencyMs;
    return reported ?? traffic.latencyMs(now, this.#estimates.medianMs);
  }

  #cost(traffic: Traffic, now: number): number {
    const latency = traffic.latencyMs(now, this.#estimates.medianMs) + LEAST_LATENCY_MS;
    return latency * (traffic.inFlight + 1) * ailing(traffic, now);
  }
}

function isTrusted({ report, reportedAt, failedAt }: Traffic, now: number): boolean {
  return (
    report?.inFlight !== undefined && now - reportedAt <= FRESH_REPORT_MS && now - failedAt >= DISTRUST_MS
  );
}

function knownInFlight({ report, sentSinceReport }: Traffic): number {
  return (report?.inFlight ?? 0) + sentSinceReport;
}

/** How much worse a server is than it looks: 1 to 10 by its `mos`, 1 to 10 by the share that it refuses. */
function ailing({ report, reportedAt }: Traffic, now: number): number {
  if (report === undefined || now - reportedAt > FRESH_MOS_MS) return 1;
  const byMos = report.mos === undefined ? 1 : 5 / Math.min(5, Math.max(0.5, report.mos));
  if (report.refused === undefined || now - reportedAt > FRESH_REPORT_MS) return byMos;
  return byMos / Math.min(1, Math.max(0.1, 1 - report.refused));
}
