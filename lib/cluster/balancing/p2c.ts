import type { BalancerOptions, Candidate, PickedCall } from './balancer.js';
import { Contender, Heat } from './contender.js';
import { FleetEstimates } from './fleet-estimates.js';
import { TieredBalancer } from './tiers.js';
import { loadOf, type Traffic } from './traffic.js';
import { WeightedDraw } from './weighted-draw.js';

/** For so long after it has joined, a server gets fewer calls: its caches are cold. */
const RAMP_MS = 10_000;

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
  readonly #first = new Contender();
  readonly #second = new Contender();

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
    this.#first.now = this.#second.now = now;
    this.#first.weight = this.weights[first] as number;
    this.#second.weight = this.weights[second] as number;
    this.#first.look(a.traffic, this.#estimates);
    this.#second.look(b.traffic, this.#estimates);
    return this.#isSecondBetter(this.#first, this.#second) ? b : a;
  }

  /** A server that joins takes part in more and more picks. */
  #waits(traffic: Traffic, now: number): boolean {
    const age = now - traffic.joinedAt;
    return age < RAMP_MS && this.options.random() * RAMP_MS >= age;
  }

  #isSecondBetter(a: Contender, b: Contender): boolean {
    if (!a.isTrusted || !b.isTrusted) return a.cost / a.weight > b.cost / b.weight;
    if (a.heat !== b.heat) return a.heat > b.heat;
    if (a.heat === Heat.Stalled) {
      // whatever they did before: the one that stands still for longer is frozen
      if (a.isSilent && b.isSilent) return a.allWaitedMs / a.weight > b.allWaitedMs / b.weight;
      return a.stalledCost / a.weight > b.stalledCost / b.weight;
    }
    const loadOfA = a.knownInFlight / a.weight;
    const loadOfB = b.knownInFlight / b.weight;
    // a latency that is reported is better than one that is seen, but not comparable with it
    const isReported = !Number.isNaN(a.reportedMs + b.reportedMs);
    const delayOfA = (isReported ? a.reportedDelayMs : a.seenDelayMs) / a.weight;
    const delayOfB = (isReported ? b.reportedDelayMs : b.seenDelayMs) / b.weight;
    if (a.heat !== Heat.Cold) return loadOfA === loadOfB ? delayOfA > delayOfB : loadOfA > loadOfB;
    if (this.#isUnsure(a, b)) {
      const odds = oddsOf(a, b);
      if (odds >= 0) return this.options.random() * (1 + odds * odds) > 1;
    }
    return delayOfA === delayOfB ? loadOfA > loadOfB : delayOfA > delayOfB;
  }

  /** With the probability that a call is no longer there: one of the calls that other clients had in flight at the last report. */
  #isUnsure(a: Contender, b: Contender): boolean {
    return this.options.random() * (a.knownInFlight + b.knownInFlight) >= a.surelyInFlight + b.surelyInFlight;
  }
}

/**
 * All clients have the same reports: if each picked the server that looks better, that would get all calls until its next report. So the
 * better one is only picked more often: by how much less loaded it is now, and much more by how it has been in the last seconds.
 *
 * @returns how many times more often the second is picked than the first; `NaN` if one has not reported all that it takes
 */
function oddsOf(a: Contender, b: Contender): number {
  const weights = b.weight / a.weight;
  const now = (reportedLoad(a) / reportedLoad(b)) * weights;
  const usual = (a.usualLoad / b.usualLoad) * weights;
  return now * (usual * usual) * (usual * usual);
}

/** By the last report, and what this client has in flight now. */
function reportedLoad({ reportedMs, knownInFlight }: Contender): number {
  return loadOf(reportedMs || 0, knownInFlight);
}
