import { COMMON, p2c } from '../balancers.js';
import type { SimServer } from '../fleet/sim-server.js';
import type { Scenario, Setup } from '../scenario.js';
import { LATE } from '../report/columns.js';
import { latencyOverTime } from '../report/over-time.js';
import { servers } from './hardware.js';

const SECOND = 1_000_000;
/** Servers of a fleet. */
const SERVERS = 11;
const CALLS_PER_SECOND = 1_000;
/** Fleets that have nothing to do with each other. */
const FLEETS = 20;
const OF_FLEETS = `p2c, ${FLEETS} fleets`;

const traffic: Setup['traffic'] = {
  callsPerSecond: () => CALLS_PER_SECOND,
  timeoutMs: 5_000,
  isIdempotent: false,
  targets: ['/fleet/call'],
};

/** Linkerd's comparison of balancers: eleven servers, one of which takes two seconds for each call over 30 seconds. */
export const linkerd: Scenario = {
  name: 'linkerd',
  title: 'One of eleven servers slow by 2 s',
  shows:
    'Eleven servers, 1,000 calls a second of one client; from 10 s to 40 s one server takes 2 s more for each call. About two calls are in flight at the server as it becomes slow, one or two more are sent before it shows, and one is sent 15 to 20 s later to see whether it still is: three to six by chance, so that the bound is about twenty such fleets. Ten clients cannot keep to that: each must send a call to know, or wait for the report of the server, which comes after 125 ms on average. By then the ten have sent it about six calls, beside the two.',
  variants: [
    ...COMMON,
    {
      name: OF_FLEETS,
      balancer: p2c,
      setup: {
        servers: servers(SERVERS * FLEETS),
        clients: FLEETS,
        subset: (all, client) => all.slice(client * SERVERS, (client + 1) * SERVERS),
        traffic: { ...traffic, callsPerSecond: () => CALLS_PER_SECOND * FLEETS },
      },
    },
    { name: 'p2c, ten clients', balancer: p2c, setup: { clients: 10 } },
  ],
  setup: {
    servers: servers(SERVERS),
    clients: 1,
    subset: (all: readonly SimServer[]) => all,
    traffic,
    warmUpMs: 5_000,
    endMs: 50_000,
  },
  script: (fleet) => {
    const slow = fleet.servers.filter(({ index }) => index % SERVERS === 0);
    fleet.at(10_000, () => slow.forEach((server) => server.slowDown(2 * SECOND)));
    fleet.at(40_000, () => slow.forEach((server) => server.heal()));
  },
  columns: [LATE],
  chart: (rows) => ({
    title: 'One of eleven servers slow by 2 s from 10 s to 40 s',
    subtitle: 'The time that 99 of 100 calls of a second took at most.',
    x: 'seconds',
    y: 'ms',
    lines: latencyOverTime(
      rows.filter(({ name }) => name !== OF_FLEETS),
      0.99,
    ),
  }),
  bounds: [
    {
      what: `calls answered within 1 s, in percent, ${OF_FLEETS}`,
      of: (rows) => (rows(OF_FLEETS).log.answeredWithin(SECOND) / rows(OF_FLEETS).calls) * 100,
      digits: 3,
      atLeast: 99.99,
    },
  ],
};
