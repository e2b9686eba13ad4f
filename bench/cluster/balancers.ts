import type { Balancer, PickedCall } from '../../lib/cluster/balancing/balancer.js';
import type { MakeBalancer } from './fleet/fleet.js';
import type { SimEndpoint } from './fleet/sim-endpoint.js';

/** Takes the servers in turn. */
class RoundRobin implements Balancer<SimEndpoint> {
  #candidates: readonly SimEndpoint[] = [];
  #next: number;

  constructor(random: () => number) {
    this.#next = Math.floor(random() * 1_000);
  }

  update(candidates: readonly SimEndpoint[]): void {
    this.#candidates = candidates;
  }

  pick(_call: PickedCall, avoid?: ReadonlySet<SimEndpoint>): SimEndpoint | undefined {
    const { length } = this.#candidates;
    for (let tried = 0; tried < length; tried += 1) {
      this.#next = (this.#next + 1) % length;
      const candidate = this.#candidates[this.#next] as SimEndpoint;
      if (!avoid?.has(candidate)) return candidate;
    }
    return this.#candidates[this.#next % length];
  }
}

export type BalancerName = 'roundRobin';

export const BALANCERS: Readonly<Record<BalancerName, MakeBalancer>> = {
  roundRobin: ({ random }) => new RoundRobin(random),
};
