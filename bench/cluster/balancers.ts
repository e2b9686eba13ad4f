import { ConsistentHash } from '../../lib/cluster/balancing/consistent-hash.js';
import { consistentHash } from '../../lib/cluster/balancing/consistent-hash-option.js';
import { LeastInFlight } from '../../lib/cluster/balancing/least-in-flight.js';
import { P2c } from '../../lib/cluster/balancing/p2c.js';
import { Random } from '../../lib/cluster/balancing/random.js';
import { RoundRobin } from '../../lib/cluster/balancing/round-robin.js';
import { Weighted } from '../../lib/cluster/balancing/weighted.js';
import type { Balancer } from '../../lib/cluster/balancing/balancer.js';
import type { MakeBalancer } from './fleet/fleet.js';
import type { SimEndpoint } from './fleet/sim-endpoint.js';
import type { Variant } from './scenario.js';

const BY_KEY = consistentHash({ key: ({ body }) => body as number });

const BALANCERS = {
  p2c: (options) => new P2c(options),
  roundRobin: (options) => new RoundRobin(options),
  random: (options) => new Random(options),
  leastInFlight: (options) => new LeastInFlight(options),
  weighted: (options) => new Weighted(options),
  consistentHash: (options) => new ConsistentHash(BY_KEY, options),
} satisfies Record<string, MakeBalancer>;

export type BalancerName = keyof typeof BALANCERS;

/** A row for each of these balancers. */
export function balancers(...names: BalancerName[]): Variant[] {
  return names.map((name) => ({ name, balancer: BALANCERS[name] }));
}

/** Those that need no options. */
export const COMMON = balancers('p2c', 'roundRobin', 'random', 'leastInFlight');

export const { p2c } = BALANCERS;

/** A row to compare with: the server with the fewest calls in flight, as no client can know it. */
export const ideal: Variant = {
  name: 'ideal',
  balancer: ({ random }) => new Ideal(random),
};

class Ideal implements Balancer<SimEndpoint> {
  #servers: readonly SimEndpoint[] = [];

  constructor(private readonly random: () => number) {}

  update(servers: readonly SimEndpoint[]): void {
    this.#servers = servers;
  }

  pick(): SimEndpoint | undefined {
    let chosen: SimEndpoint | undefined;
    let fewest = Infinity;
    for (const each of this.#servers) {
      // at random among equals
      const inFlight = each.server.inFlight + this.random();
      if (inFlight >= fewest) continue;
      chosen = each;
      fewest = inFlight;
    }
    return chosen;
  }
}
