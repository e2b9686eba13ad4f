import { ALL_BALANCERS } from '../balancers.js';
import { rendezvous } from '../fleet/subsets.js';
import type { Scenario } from '../scenario.js';
import { mixedServers } from './hardware.js';

/** 100 servers, half of them twice as fast as the others. */
export const spread: Scenario = {
  name: 'spread',
  title: 'Hardware that differs by two',
  shows:
    '100 servers, every second one twice as fast as the others; 1,000 clients, each of which uses 20 of them. The calls are 70 % of what the fleet bears.',
  balancers: ALL_BALANCERS,
  setup: {
    servers: mixedServers(100, { cores: 4, serviceUs: 40_000 }),
    clients: 1_000,
    subset: rendezvous(20),
    traffic: {
      callsPerSecond: () => 7_000,
      timeoutMs: 2_000,
      isIdempotent: false,
      targets: ['/fleet/call'],
    },
    warmUpMs: 2_000,
    endMs: 6_000,
  },
  isLarge: true,
  bounds: [
    {
      what: 'load of the busiest server to the mean',
      balancer: 'p2c',
      of: (row) => row.loadMaxToMean,
      digits: 3,
      atMost: 1.05,
    },
  ],
};
