import { balancers, COMMON, p2c } from '../balancers.js';
import type { Fleet } from '../fleet/fleet.js';
import { everyServer } from '../fleet/subsets.js';
import type { SimServer } from '../fleet/sim-server.js';
import { LATE, percent } from '../report/columns.js';
import { connectionsOverTime, latencyOverTime } from '../report/over-time.js';
import { busiestShare, type Row } from '../row.js';
import type { Bound, Column, Rows, Scenario, Script } from '../scenario.js';
import { ELEVEN, servers, THOUSAND } from './hardware.js';

const RESTART_MS = 2_000;
const TENTH_US = 100_000;

const RECONNECTS: Column = { heading: 'Reconnects', of: ({ connectedUs }) => String(connectedUs.length) };
const BURST: Column = { heading: 'Most in 100 ms', of: (row) => percent(burstOf(row), 1) };

function burstOf({ connectedUs }: Row): number {
  return busiestShare(connectedUs, TENTH_US);
}

/** At most 5 % of the connections in any 100 ms. */
function noBurst(row: string, what: string): Bound {
  return {
    what: `${what} in any 100 ms, in percent`,
    of: (rows) => burstOf(rows(row)) * 100,
    digits: 1,
    atMost: 5,
  };
}

function allAnswered(row: string): Bound {
  return {
    what: `calls answered, in percent, ${row}`,
    of: (rows: Rows) => rows(row).answered * 100,
    digits: 3,
    atLeast: 100,
  };
}

function restart(server: SimServer, fleet: Fleet): void {
  server.drain(() => fleet.at(fleet.time.now() + RESTART_MS, () => server.start()));
}

export const rollingRestart: Scenario = {
  name: 'rolling-restart',
  title: 'Rolling restart',
  shows:
    'Each of eleven servers drains, closes and listens again 2 s later, one every 2.5 s. One client, 2,000 calls a second that must not run twice.',
  variants: COMMON,
  setup: { ...ELEVEN, endMs: 45_000 },
  script: (fleet) => {
    fleet.servers.forEach((server, index) => fleet.at(7_500 + index * 2_500, () => restart(server, fleet)));
  },
  chart: (rows) => ({
    title: 'Rolling restart of eleven servers, one every 2.5 s',
    subtitle: 'The time that 99 of 100 calls of a second took at most.',
    x: 'seconds',
    y: 'ms',
    lines: latencyOverTime(rows, 0.99),
  }),
  bounds: [allAnswered('p2c')],
};

const BATCH = 100;

export const rollingRestartOf1000: Scenario = {
  name: 'rolling-restart-1000',
  title: 'Rolling restart of 1,000 servers',
  shows:
    'A hundred servers drain each half second, and each listens again 2 s after it has closed. 10,000 clients of 20 connections each, 5,000 calls a second that must not run twice.',
  variants: balancers('p2c'),
  setup: {
    ...THOUSAND,
    traffic: { ...THOUSAND.traffic, isIdempotent: false },
    endMs: 11_000,
  },
  script: (fleet) => {
    fleet.servers.forEach((server, index) =>
      fleet.at(3_000 + Math.floor(index / BATCH) * 500, () => restart(server, fleet)),
    );
  },
  isLarge: true,
  columns: [LATE, RECONNECTS, BURST],
  bounds: [allAnswered('p2c')],
};

/** All servers die at 5 s. */
const killAll: Script = (fleet) => {
  fleet.at(5_000, () => fleet.servers.forEach((server) => server.kill()));
  fleet.at(5_000 + RESTART_MS, () => fleet.servers.forEach((server) => server.start()));
};

export const restartStorm: Scenario = {
  name: 'restart-storm',
  title: 'All servers restart',
  shows:
    '1,000 servers, 10,000 clients of 20 connections each: all servers die at 5 s and listen again 2 s later. A client that reaches none of its servers tries three of them soon and the others over eight seconds, so that the servers are not asked for all 200,000 connections at once.',
  variants: balancers('p2c'),
  isLarge: true,
  setup: { ...THOUSAND, warmUpMs: 4_000, endMs: 14_000 },
  script: killAll,
  columns: [LATE, RECONNECTS, BURST],
  chart: (rows) => ({
    title: '1,000 servers listen again at 7 s',
    subtitle: 'The share of 200,000 connections that were made in each tenth of a second.',
    x: 'seconds',
    y: '%',
    lines: connectionsOverTime(rows, TENTH_US),
    bound: { name: '5 %', at: 5 },
  }),
  bounds: [noBurst('p2c', 'connections made')],
};

/** One server dies, with a connection of each client. */
const killOne: Script = (fleet) => {
  const server = fleet.servers[0] as SimServer;
  fleet.at(5_000, () => server.kill());
  fleet.at(5_000 + RESTART_MS, () => server.start());
};

const drainOne: Script = (fleet) => fleet.at(5_000, () => restart(fleet.servers[0] as SimServer, fleet));

export const restartOfOne: Scenario = {
  name: 'restart-of-one',
  title: 'One server of 10,000 clients restarts',
  shows:
    '10,000 clients with a connection to each of three servers, 1,000 calls a second that may be repeated. One server dies, or drains and closes, at 5 s and listens again 2 s later. A client that has others does not hurry. One that has no other must: it is to be served soon after the server listens, and so all of them come back within a second.',
  differIn: 'Restart',
  isLarge: true,
  setup: {
    ...THOUSAND,
    servers: servers(3),
    subset: everyServer,
    traffic: { ...THOUSAND.traffic, callsPerSecond: () => 1_000 },
    warmUpMs: 4_000,
    endMs: 13_000,
  },
  variants: [
    { name: 'killed', balancer: p2c, script: killOne },
    { name: 'drained', balancer: p2c, script: drainOne },
    { name: 'killed, no other server', balancer: p2c, script: killOne, setup: { servers: servers(1) } },
  ],
  columns: [LATE, RECONNECTS, BURST],
  bounds: [noBurst('killed', 'connections made after a kill'), noBurst('drained', 'after a drain')],
};
