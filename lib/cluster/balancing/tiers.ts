import type { Balancer, BalancerOptions, Candidate, PickedCall } from './balancer.js';

/** Heavier servers count as this: sums of weights and their inverses stay finite. */
const MAX_WEIGHT = 1e9;
const MIN_WEIGHT = 1e-9;

/**
 * What all balancers share: the order in which servers come into question. First those with a weight that this call has not tried,
 * then standbys (weight 0) that it has not tried, then those with a weight again.
 */
export abstract class TieredBalancer<C extends Candidate> implements Balancer<C> {
  /** Those with a weight; all if none has one. */
  protected active: readonly C[] = [];
  /** Their weights, each above 0. */
  protected weights: Float64Array = new Float64Array(0);
  /** The others. */
  #standbys: readonly C[] = [];

  constructor(protected readonly options: BalancerOptions) {}

  update(candidates: readonly C[]): void {
    const weighted = candidates.filter(({ weight }) => weight > 0);
    this.active = weighted.length > 0 ? weighted : [...candidates];
    this.#standbys = weighted.length > 0 ? candidates.filter(({ weight }) => !(weight > 0)) : [];
    this.weights = Float64Array.from(this.active, ({ weight }) =>
      weight > 0 ? Math.min(MAX_WEIGHT, Math.max(MIN_WEIGHT, weight)) : 1,
    );
    this.updated();
  }

  pick(call: PickedCall | undefined, avoid?: ReadonlySet<C>): C | undefined {
    if (this.active.length === 0) return undefined;
    if (avoid === undefined || avoid.size === 0) return this.choose(call, undefined);
    return (
      this.choose(call, avoid) ??
      anyOf(this.#standbys, this.options.random, avoid) ??
      this.choose(call, undefined)
    );
  }

  /** `active` and `weights` are new. */
  protected abstract updated(): void;

  /** One of `active`, which is not empty; `undefined` only if all are to be avoided. */
  protected abstract choose(call: PickedCall | undefined, avoid: ReadonlySet<C> | undefined): C | undefined;
}

/** One that is not to be avoided, each with the same probability. */
function anyOf<C>(items: readonly C[], random: () => number, avoid: ReadonlySet<C>): C | undefined {
  let chosen: C | undefined;
  let seen = 0;
  for (const item of items) {
    if (avoid.has(item)) continue;
    seen += 1;
    if (random() * seen < 1) chosen = item;
  }
  return chosen;
}
