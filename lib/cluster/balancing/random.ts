import type { Candidate, PickedCall } from './balancer.js';
import { TieredBalancer } from './tiers.js';
import { WeightedDraw } from './weighted-draw.js';

/** Any server, with a probability in proportion to its weight. */
export class Random<C extends Candidate = Candidate> extends TieredBalancer<C> {
  #draw: WeightedDraw<C> | undefined;

  protected updated(): void {
    this.#draw = new WeightedDraw(this.active, this.weights, this.options.random);
  }

  protected choose(_call: PickedCall, avoid: ReadonlySet<C> | undefined): C | undefined {
    return this.active[this.#draw?.draw(avoid) ?? -1];
  }
}
