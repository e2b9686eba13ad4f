import type { Candidate, PickedCall } from './balancer.js';
import { PickHeap } from './pick-heap.js';
import { TieredBalancer } from './tiers.js';
import { type InFlightWatcher, watch } from './traffic.js';

/**
 * The server with the fewest calls of this client in flight, relative to its weight; of several, the one that was picked the
 * longest ago. A pick costs O(log n), and so does the begin and end of each call.
 */
export class LeastInFlight<C extends Candidate = Candidate>
  extends TieredBalancer<C>
  implements InFlightWatcher
{
  #heap: PickHeap<C> | undefined;
  #watched: readonly C[] = [];
  #picks = 0;

  inFlightChanged(slot: number): void {
    this.#heap?.set(slot, this.#load(slot));
  }

  protected updated(): void {
    watch(this, this.#watched, this.active);
    this.#watched = this.active;
    this.#heap = new PickHeap(
      this.active,
      this.weights.map((_weight, slot) => this.#load(slot)),
      this.options.random,
    );
  }

  protected choose(_call: PickedCall, avoid: ReadonlySet<C> | undefined): C | undefined {
    const heap = this.#heap as PickHeap<C>;
    const server = heap.first(avoid);
    if (server === -1) return undefined;
    this.#picks += 1;
    heap.setTie(server, this.#picks);
    return this.active[server];
  }

  #load(slot: number): number {
    const candidate = this.active[slot] as C;
    return candidate.traffic.inFlight / (this.weights[slot] as number);
  }
}
