import { ConsistentHash } from '../../lib/cluster/balancing/consistent-hash.js';
import { consistentHash } from '../../lib/cluster/balancing/consistent-hash-option.js';
import { LeastInFlight } from '../../lib/cluster/balancing/least-in-flight.js';
import { P2c } from '../../lib/cluster/balancing/p2c.js';
import { Random } from '../../lib/cluster/balancing/random.js';
import { RoundRobin } from '../../lib/cluster/balancing/round-robin.js';
import { Weighted } from '../../lib/cluster/balancing/weighted.js';
import type { MakeBalancer } from './fleet/fleet.js';
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
