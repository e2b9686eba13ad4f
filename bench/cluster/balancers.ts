import { LeastInFlight } from '../../lib/cluster/balancing/least-in-flight.js';
import { P2c } from '../../lib/cluster/balancing/p2c.js';
import { Random } from '../../lib/cluster/balancing/random.js';
import { RoundRobin } from '../../lib/cluster/balancing/round-robin.js';
import type { MakeBalancer } from './fleet/fleet.js';

export type BalancerName = 'p2c' | 'roundRobin' | 'random' | 'leastInFlight';

export const BALANCERS: Readonly<Record<BalancerName, MakeBalancer>> = {
  p2c: (options) => new P2c(options),
  roundRobin: (options) => new RoundRobin(options),
  random: (options) => new Random(options),
  leastInFlight: (options) => new LeastInFlight(options),
};

export const ALL_BALANCERS: readonly BalancerName[] = ['p2c', 'roundRobin', 'random', 'leastInFlight'];
