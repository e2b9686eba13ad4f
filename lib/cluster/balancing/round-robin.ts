import type { Candidate, PickedCall } from './balancer.js';
import { TieredBalancer } from './tiers.js';

/** One server after the other. Weights do not count, but for 0. */
export class RoundRobin<C extends Candidate = Candidate> extends TieredBalancer<C> {
  #next = -1;

  protected updated(): void {
    const { length } = this.active;
    // clients that start together must not all begin with the same server
    if (this.#next === -1 && length > 0) this.#next = Math.floor(this.options.random() * length);
  }

  protected choose(_call: PickedCall, avoid: ReadonlySet<C> | undefined): C | undefined {
    const { active } = this;
    for (let tried = 0; tried < active.length; tried += 1) {
      if (this.#next >= active.length) this.#next = 0;
      const candidate = active[this.#next] as C;
      this.#next += 1;
      if (!avoid?.has(candidate)) return candidate;
    }
    return undefined;
  }
}
