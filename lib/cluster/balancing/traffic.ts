import type { LoadReport } from '../../rpc/connection/load-report.js';
import { TimeMean } from './time-mean.js';

/**
 * How a call to a server has ended, for its latency. `abandoned`: its caller did not wait any longer, so that it takes at least so long;
 * `ignored` says nothing about the server.
 */
export type TrafficOutcome = 'answered' | 'failed' | 'abandoned' | 'ignored';

/** A balancer that needs to know at once of each call that begins or ends, and not only at its next pick. */
export interface InFlightWatcher {
  /** The calls in flight at the server with this number have changed by 1 or -1. */
  inFlightChanged(slot: number, change: number): void;
}

/** Weight of older latencies: after this time it is 1/e. As in Finagle's and Linkerd's peak EWMA. */
export const LATENCY_DECAY_MS = 10_000;
/** A failure counts as this multiple of the latency so far, so that one mishap costs little and a row of them much. */
const FAILURE_FACTOR = 10;
/** Calls that took no measurable time must not make the number in flight meaningless. */
export const LEAST_LATENCY_MS = 0.001;
/**
 * Weight of older reports in the usual load: after this time it is a half. Clients see after about half a second what their choices
 * lead to; who goes by less than several times that reacts to his own reaction.
 */
const USUAL_LOAD_MS = 4_000;
/** What a failure counts as if no call has been answered. */
const FIRST_FAILURE_MS = 1_000;
/** A row of failures counts as no more than this, so that the server is tried again within two minutes. */
const MOST_FAILURE_MS = 10_000;

/** The calls of this client to one server: what balancers and statistics read. Times in milliseconds. */
export class Traffic {
  /** Calls without an outcome, and open channels. */
  inFlight = 0;
  /** Open channels, which say nothing about latency. */
  channels = 0;
  /** Calls that were sent to it. */
  picks = 0;
  /** Calls that have failed because of it. */
  failures = 0;
  /** What the server said last, and when; `undefined` before. */
  report: LoadReport | undefined;
  reportedAt = -Infinity;
  /** Calls in flight there that are not of this client, by its last report. */
  othersInFlight = 0;
  /** Its load by its reports of the last seconds, see `loadOf`; `NaN` if none has said all that it takes. */
  usualLoad = NaN;
  /** When it joined the servers that may be picked; `NaN` before. */
  joinedAt = NaN;
  /** When a failure raised the latency last. */
  failedAt = -Infinity;
  /** When anything raised it last: a failure, or an answer that took longer. */
  peakAt = -Infinity;
  /** The one balancer that is told of each change of `inFlight`, and its number for this server. */
  watcher: InFlightWatcher | undefined;
  slot = -1;
  /** Peak EWMA when a call ended last. */
  #latency = 0;
  /** When that was; `-Infinity` if no call has ended. */
  #endedAt = -Infinity;
  /** The last end of a call, or the begin of one that found none in flight: the oldest in flight is at least that old. */
  #waitsSince = 0;
  /** Of its own calls since the last report. */
  readonly #meanInFlight = new TimeMean();

  /** A call goes to the server. */
  begin(now: number): void {
    if (this.inFlight === this.channels) this.#waitsSince = now;
    this.#meanInFlight.add(this.inFlight, now);
    this.#sent();
  }

  /** A channel or stream is opened there: as `begin`, but its duration is no latency. */
  opened(): void {
    this.channels += 1;
    this.#sent();
  }

  /** It is closed; `failed`, if because of the server: that counts as one failure, however long it was open. */
  closed(failed?: { readonly openedAt: number; readonly now: number }): void {
    this.channels -= 1;
    this.#ended();
    if (failed) this.#failed(0, failed.openedAt, failed.now);
  }

  /** It has ended. `startedAt` is the time that `begin` got. */
  end(now: number, startedAt: number, outcome: TrafficOutcome): void {
    this.#meanInFlight.add(this.inFlight, now);
    this.#ended();
    this.#waitsSince = now;
    if (outcome === 'ignored') return;
    const latency = Math.max(0, now - startedAt);
    if (outcome === 'failed') this.#failed(latency, startedAt, now);
    else if (outcome === 'answered' || latency > this.latencyMs(now)) this.#observe(latency, now);
  }

  reported(report: LoadReport, now: number): void {
    this.#learnLoad(report, Math.max(0, now - this.reportedAt));
    this.report = report;
    this.reportedAt = now;
    const own = this.#meanInFlight.take(this.inFlight, now);
    this.othersInFlight = Math.max(0, (report.inFlight ?? 0) - own) || 0;
  }

  /**
   * It may be picked from now on: a balancer calls this for a server it has not seen before. The owner of the server calls it when
   * another process has taken the address: latencies and reports of the old one are forgotten, and calls ramp up again.
   */
  joined(now: number): void {
    this.joinedAt = now;
    this.failedAt = this.peakAt = -Infinity;
    this.report = undefined;
    this.reportedAt = -Infinity;
    this.othersInFlight = 0;
    this.usualLoad = NaN;
    this.#latency = 0;
    this.#endedAt = -Infinity;
  }

  /** Whether a call has ended, so that there is a latency. */
  get hasHistory(): boolean {
    return this.#endedAt !== -Infinity;
  }

  /**
   * Peak EWMA of the latency (decay 10 s): a slower call raises it at once, faster ones lower it over time. A failure counts as ten
   * times the latency so far, at most 10 s; failures of calls that were under way at the first count once.
   *
   * A call that is in flight for longer counts before it ends.
   *
   * @param rest what it approaches while no call ends, with the same decay: an old latency says little
   * @returns `rest` without history
   */
  latencyMs(now: number, rest = 0): number {
    const isKnown = this.#endedAt !== -Infinity;
    const latency = isKnown ? rest + (this.#latency - rest) * decay(now - this.#endedAt) : rest;
    return Math.max(latency, this.waitedMs(now));
  }

  /** Calls in flight there: those of others as it has reported them, and those of this client as they are now. */
  get knownInFlight(): number {
    return this.othersInFlight + this.inFlight;
  }

  /** Those that are there still: its own, and of the reported ones the more, the longer calls take and the newer the report is. */
  surelyInFlight(now: number): number {
    const latencyMs = this.report?.latencyMs || LEAST_LATENCY_MS;
    const ageMs = Math.max(0, now - this.reportedAt);
    return this.inFlight + (this.othersInFlight * latencyMs) / (latencyMs + ageMs);
  }

  /** How long a call has waited at least for its answer; 0 if none is in flight. */
  waitedMs(now: number): number {
    return this.inFlight > this.channels ? Math.max(0, now - this.#waitsSince) : 0;
  }

  /** The same of all its calls together: of several one should have ended sooner than of one. */
  allWaitedMs(now: number): number {
    return this.waitedMs(now) * (this.inFlight - this.channels);
  }

  /** The harmonic mean of recent reports: a moment of a very high load does not count for longer than one of a low load. */
  #learnLoad({ latencyMs, inFlight }: LoadReport, elapsedMs: number): void {
    if (latencyMs === undefined || inFlight === undefined) return;
    const last = 1 / loadOf(latencyMs, inFlight);
    const before = 1 / this.usualLoad;
    const weight = USUAL_LOAD_MS / (USUAL_LOAD_MS + elapsedMs);
    this.usualLoad = 1 / (before > 0 ? last + (before - last) * weight : last);
  }

  #sent(): void {
    this.inFlight += 1;
    this.picks += 1;
    this.watcher?.inFlightChanged(this.slot, 1);
  }

  #ended(): void {
    this.inFlight -= 1;
    this.watcher?.inFlightChanged(this.slot, -1);
  }

  #failed(latency: number, startedAt: number, now: number): void {
    this.failures += 1;
    let counted = Math.max(latency, this.#latency);
    // a lost connection fails many calls at once, and says one thing only
    if (startedAt >= this.failedAt) {
      const penalty = this.hasHistory ? Math.max(1, this.#latency) * FAILURE_FACTOR : FIRST_FAILURE_MS;
      counted = Math.max(counted, Math.min(penalty, MOST_FAILURE_MS));
      this.failedAt = now;
    }
    this.#observe(counted, now);
  }

  #observe(latency: number, now: number): void {
    if (latency >= this.#latency) this.peakAt = now;
    const weight = latency >= this.#latency ? 0 : decay(now - this.#endedAt);
    this.#latency = latency + (this.#latency - latency) * weight;
    this.#endedAt = now;
  }
}

/**
 * How loaded a server is, to compare it with others: calls in flight times the fourth root of the latency. Servers that are equally busy
 * have as many calls in flight, if one is slower: the latency itself would keep it idle.
 */
export function loadOf(latencyMs: number, inFlight: number): number {
  // each engine computes square roots alike, unlike powers
  return Math.sqrt(Math.sqrt(Math.max(LEAST_LATENCY_MS, latencyMs))) * (inFlight + 1);
}

/** Tells a balancer of each change at these servers, which it knows by their index, and no more of those before. */
export function watch(
  watcher: InFlightWatcher,
  before: readonly { readonly traffic: Traffic }[],
  after: readonly { readonly traffic: Traffic }[],
): void {
  for (const { traffic } of before) if (traffic.watcher === watcher) traffic.watcher = undefined;
  after.forEach(({ traffic }, index) => {
    traffic.watcher = watcher;
    traffic.slot = index;
  });
}

/** What is left of a value after some time. */
function decay(ms: number): number {
  return ms > 0 ? Math.exp(-ms / LATENCY_DECAY_MS) : 1;
}
