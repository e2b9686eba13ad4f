import type { Fault } from '../../protocol/fault.js';
import { isServerError, type Verdict, verdictOf } from './classify.js';
import type { EjectOptions } from './failure-options.js';
import { SuccessRate } from './success-rate.js';

/** Part of an ejection by which it may be shorter, so that clients do not probe in step. */
const JITTER = 0.25;
/** A probe without an outcome, such as an endless stream, does not keep others from probing. */
export const PROBE_MS = 10_000;

export interface EjectorInit<E> {
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number;
  /** From 0 to 1, 1 excluded. */
  readonly random: () => number;
  readonly options: EjectOptions;
  /** A server gets no calls until `untilMs`, and then one at a time. Again after each probe that failed. */
  readonly onEject: (server: E, reason: string, untilMs: number) => void;
  /** A server gets calls again: its probe succeeded, or too many of those that are left are ejected. */
  readonly onReturn?: ((server: E) => void) | undefined;
}

/** What is known of one server. */
class Health {
  readonly rate = new SuccessRate();
  /** Lost and late calls without a success between them. */
  failures = 0;
  /** Ejections that have not been forgiven. */
  level = 0;
  isEjected = false;
  until = 0;
  /** When the probe that runs began; NaN: none runs. */
  probeAt = NaN;
  returnedAt = -Infinity;
  reason: string | undefined;

  isProbing(now: number): boolean {
    return now - this.probeAt < PROBE_MS;
  }
}

/**
 * Ejects servers of one service that fail: after some lost or late calls in a row, or if far fewer of their calls succeed than
 * of the others'. An ejected server returns by a probe, a call that goes to it although it is ejected. Has no timers:
 * whoever holds the server's state waits until the time that it gets.
 */
export class Ejector<E extends object> {
  readonly #servers = new Map<E, Health>();
  readonly #all = new SuccessRate();
  readonly #maxLevel: number;
  #ejected = 0;

  constructor(private readonly init: EjectorInit<E>) {
    const { baseMs, maxMs } = init.options;
    this.#maxLevel = Math.ceil(Math.log2(maxMs / baseMs)) + 1;
  }

  /** How many servers are ejected now. */
  get ejected(): number {
    return this.#ejected;
  }

  /** A server is listed; it starts clean. When a list changes, add the new servers before the old ones are removed. */
  add(server: E): void {
    if (!this.#servers.has(server)) this.#servers.set(server, new Health());
  }

  /** A server is no longer listed: nothing of it is kept. May return others, so that at most half of the rest are ejected. */
  remove(server: E): void {
    const health = this.#servers.get(server);
    if (!health) return;
    this.#servers.delete(server);
    if (health.isEjected) this.#ejected -= 1;
    else this.#all.subtract(health.rate, this.init.now());
    while (this.#ejected > this.#mostEjected()) this.#returnNext();
  }

  /**
   * A call to the server has ended; not one that was its probe. Failures without a fault count as lost or late.
   *
   * @param startedAt when it was sent, by the same clock: what began before the last return says nothing about the server now
   */
  record(server: E, verdict: Verdict, startedAt = Infinity): void {
    this.#record(server, verdict, startedAt, true);
  }

  /** The same for a call that failed. A 500 counts only for the rate of success: the server is there. */
  recordFault(server: E, fault: Fault, startedAt = Infinity): Verdict {
    const verdict = verdictOf(fault);
    this.#record(server, verdict, startedAt, !isServerError(fault));
    return verdict;
  }

  isEjected(server: E): boolean {
    return this.#servers.get(server)?.isEjected ?? false;
  }

  /** When the ejection of the server is over, by the clock; `undefined` if it is not ejected. */
  ejectedUntil(server: E): number | undefined {
    const health = this.#servers.get(server);
    return health?.isEjected ? health.until : undefined;
  }

  /** Why the server was ejected last; `undefined` if it never was. */
  reasonOf(server: E): string | undefined {
    return this.#servers.get(server)?.reason;
  }

  /** Whether a call may go to the server as its probe: the ejection is over, and no other probe runs. */
  mayProbe(server: E): boolean {
    const health = this.#servers.get(server);
    if (!health?.isEjected) return false;
    const now = this.init.now();
    return now >= health.until && !health.isProbing(now);
  }

  /** A call goes to the server as its probe; false if it may not. Its end goes to `probed`, whatever it is. */
  probe(server: E): boolean {
    if (!this.mayProbe(server)) return false;
    (this.#servers.get(server) as Health).probeAt = this.init.now();
    return true;
  }

  /** The probe has ended: an answer returns the server, a refusal too, and a failure ejects it for twice the time. */
  probed(server: E, verdict: Verdict): void {
    const health = this.#servers.get(server);
    if (!health?.isEjected || Number.isNaN(health.probeAt)) return;
    health.probeAt = NaN;
    if (verdict === 'failed') this.#ejectFor(server, health, `the probe failed; before: ${health.reason}`);
    else if (verdict !== 'ignored') this.#return(server, health);
  }

  #record(server: E, verdict: Verdict, startedAt: number, isLostOrLate: boolean): void {
    // a refusal is a matter of load, which the balancer sees
    if (verdict === 'ignored' || verdict === 'refused') return;
    const health = this.#servers.get(server);
    if (!health || health.isEjected || startedAt < health.returnedAt) return;
    const now = this.init.now();
    const isOk = verdict === 'answered';
    health.rate.record(isOk, now);
    this.#all.record(isOk, now);
    if (isOk) health.failures = 0;
    else this.#failed(server, health, isLostOrLate, now);
  }

  #failed(server: E, health: Health, isLostOrLate: boolean, now: number): void {
    const { consecutiveFailures, minCalls, forgiveMs } = this.init.options;
    if (isLostOrLate) health.failures += 1;
    if (this.#ejected + 1 > this.#mostEjected()) return;
    const reason =
      health.failures >= consecutiveFailures
        ? `${health.failures} failures in a row`
        : health.rate.outlier(this.#all, minCalls, now);
    if (reason === undefined) return;
    const forgiven = Math.floor((now - health.returnedAt) / forgiveMs);
    health.level = Math.max(0, health.level - forgiven);
    this.#all.subtract(health.rate, now);
    health.rate.clear();
    health.isEjected = true;
    this.#ejected += 1;
    health.reason = reason;
    this.#ejectFor(server, health, reason);
  }

  #ejectFor(server: E, health: Health, reason: string): void {
    const { now, random, options, onEject } = this.init;
    const longest = Math.min(options.maxMs, options.baseMs * 2 ** health.level);
    health.level = Math.min(this.#maxLevel, health.level + 1);
    health.until = now() + longest * (1 - JITTER * random());
    onEject(server, reason, health.until);
  }

  #return(server: E, health: Health): void {
    health.isEjected = false;
    health.probeAt = NaN;
    health.failures = 0;
    health.returnedAt = this.init.now();
    this.#ejected -= 1;
    this.init.onReturn?.(server);
  }

  /** Returns the server whose ejection ends first. */
  #returnNext(): void {
    let next: [E, Health] | undefined;
    for (const entry of this.#servers)
      if (entry[1].isEjected && (!next || entry[1].until < next[1].until)) next = entry;
    if (next) this.#return(...next);
  }

  /** Never the last one, whatever the ratio. */
  #mostEjected(): number {
    const listed = this.#servers.size;
    return Math.max(0, Math.min(Math.floor(listed * this.init.options.maxRatio), listed - 1));
  }
}
