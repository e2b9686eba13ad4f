import type { HedgeOptions } from './failure-options.js';
import { LatencyQuantile } from './latency-quantile.js';
import { RetryBudget } from './retry-budget.js';

/** Targets whose latencies are kept: those used last. */
const MAX_TARGETS = 1024;

/** The latencies of one target. */
class Target {
  /** Whether it was used since it was last spared. */
  wasUsed = false;

  constructor(readonly latency: LatencyQuantile) {}
}

export interface HedgePolicyInit {
  readonly options: HedgeOptions;
  /** What retries take from, too. */
  readonly budget: Pick<RetryBudget, 'take'>;
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number;
}

/** Says when the second attempt of a call starts, and whether. */
export class HedgePolicy {
  /** In the order in which they are dropped, unless they are used meanwhile. */
  readonly #targets = new Map<string, Target>();
  readonly #hedges: RetryBudget;

  constructor(private readonly init: HedgePolicyInit) {
    this.#hedges = new RetryBudget({ ratio: init.options.maxRatio, perSecond: 0 }, init.now);
  }

  /** A call has succeeded. @param ms from its begin to the first answer, whichever attempt had it */
  answered(target: string, ms: number): void {
    let known = this.#targets.get(target);
    if (!known) {
      known = this.#targets.size < MAX_TARGETS ? this.#newTarget() : this.#dropOne();
      this.#targets.set(target, known);
    }
    known.wasUsed = true;
    known.latency.record(ms);
  }

  /** Time after which a call of the target gets its second attempt, in milliseconds; `undefined` while too little is known. */
  delayFor(target: string): number | undefined {
    const { minSamples, minDelayMs } = this.init.options;
    const latency = this.#targets.get(target)?.latency;
    if (!latency || latency.count < minSamples) return undefined;
    return Math.max(minDelayMs, latency.value());
  }

  /** A call that may be hedged begins: its first attempt. */
  called(now = this.init.now()): void {
    this.#hedges.called(now);
  }

  /** Takes the place of a second attempt; if there is none, the first one just goes on. */
  take(now = this.init.now()): boolean {
    // the budget of the retries gives nothing for a hedge that is not made
    return this.#hedges.hasRoom(now) && this.init.budget.take(now) && this.#hedges.take(now);
  }

  #newTarget(): Target {
    return new Target(new LatencyQuantile(this.init.options.quantile));
  }

  /** Drops the first target that was not used since it was spared, for a new one. */
  #dropOne(): Target {
    for (const [name, target] of this.#targets) {
      this.#targets.delete(name);
      if (!target.wasUsed) {
        target.latency.clear();
        return target;
      }
      target.wasUsed = false;
      this.#targets.set(name, target); // moves to the end
    }
    return this.#newTarget();
  }
}
