import { ALL_BALANCERS } from '../balancers.js';
import { rendezvous } from '../fleet/subsets.js';
import type { Scenario } from '../scenario.js';
import { mixedServers } from './hardware.js';

/** 1,000 servers, half of them twice as fast as the others. */
export const spread: Scenario = {
  name: 'spread',
  title: 'Hardware that differs by two',
  shows:
    '1,000 servers, every second one twice as fast as the others; 10,000 clients, each of which uses 20 of them. The calls are 70 % of what the fleet bears.',
  balancers: ALL_BALANCERS,
  setup: {
    servers: mixedServers(1_000, { cores: 4, serviceUs: 40_000 }),
    clients: 10_000,
    subset: rendezvous(20),
    traffic: {
      callsPerSecond: () => 70_000,
      timeoutMs: 2_000,
      isIdempotent: false,
      targets: ['/fleet/call'],
    },
    warmUpMs: 2_000,
    endMs: 6_000,
  },
};
