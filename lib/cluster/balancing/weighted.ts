import type { Candidate, PickedCall } from './balancer.js';
import { PickHeap } from './pick-heap.js';
import { TieredBalancer } from './tiers.js';

/**
 * Each server in turn, in proportion to its weight and spread over time instead of in a row: earliest deadline first, as Envoy's weighted
 * round robin. A pick costs O(log n).
 */
export class Weighted<C extends Candidate = Candidate> extends TieredBalancer<C> {
  /** The key of a server is the virtual time of its next turn. */
  #turns: PickHeap<C> | undefined;
  #intervals = new Float64Array(0);

  protected updated(): void {
    const { active, weights } = this;
    const { random } = this.options;
    const sum = weights.reduce((total, weight) => total + weight, 0);
    this.#intervals = weights.map((weight) => sum / weight);
    // clients that start together must not all begin with the same server
    this.#turns = new PickHeap(
      active,
      this.#intervals.map((interval) => interval * random()),
      random,
    );
  }

  protected choose(_call: PickedCall, avoid: ReadonlySet<C> | undefined): C | undefined {
    const turns = this.#turns as PickHeap<C>;
    const server = turns.first(avoid);
    if (server === -1) return undefined;
    turns.set(server, turns.keyOf(server) + (this.#intervals[server] as number));
    return this.active[server];
  }
}
