import { COMMON, p2c } from '../balancers.js';
import type { SimServer } from '../fleet/sim-server.js';
import type { Scenario } from '../scenario.js';
import { LATE } from '../report/columns.js';
import { latencyOverTime } from '../report/over-time.js';
import { servers } from './hardware.js';

const SECOND = 1_000_000;

/** Linkerd's comparison of balancers: eleven servers, one of which takes two seconds for each call over 30 seconds. */
export const linkerd: Scenario = {
  name: 'linkerd',
  title: 'One of eleven servers slow by 2 s',
  shows:
    'Eleven servers, 1,000 calls a second of one client; from 10 s to 40 s one server takes 2 s more for each call. 99.99 % are all but four calls: about two are in flight at the server as it becomes slow, one tells that it is, and one is sent 20 s later to see whether it still is. Ten clients cannot keep to that: each must send a call to know, or wait for the report of the server, which comes after 125 ms on average. By then the ten have sent it about six calls, beside the two.',
  variants: [...COMMON, { name: 'p2c, ten clients', balancer: p2c, setup: { clients: 10 } }],
  setup: {
    servers: servers(11),
    clients: 1,
    subset: (all: readonly SimServer[]) => all,
    traffic: { callsPerSecond: () => 1_000, timeoutMs: 5_000, isIdempotent: false, targets: ['/fleet/call'] },
    warmUpMs: 5_000,
    endMs: 50_000,
  },
  script: (fleet) => {
    const [slow] = fleet.servers;
    fleet.at(10_000, () => slow?.slowDown(2 * SECOND));
    fleet.at(40_000, () => slow?.heal());
  },
  columns: [LATE],
  chart: (rows) => ({
    title: 'One of eleven servers slow by 2 s from 10 s to 40 s',
    subtitle: 'The time that 99 of 100 calls of a second took at most.',
    x: 'seconds',
    y: 'ms',
    lines: latencyOverTime(rows, 0.99),
  }),
  bounds: [
    {
      what: 'calls answered within 1 s, in percent, p2c',
      of: (rows) => (rows('p2c').log.answeredWithin(SECOND) / rows('p2c').calls) * 100,
      digits: 3,
      atLeast: 99.99,
    },
  ],
};
