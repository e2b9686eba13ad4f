import { COMMON } from '../balancers.js';
import type { LineChart } from '../report/line-chart.js';
import type { Row } from '../row.js';
import type { Scenario } from '../scenario.js';
import { CAPACITY, ELEVEN, servers } from './hardware.js';

export const allFail: Scenario = {
  name: 'all-fail',
  title: 'All servers fail',
  shows:
    'From 10 s to 20 s every server answers every call with a 500. Eleven servers, one client, 2,000 calls a second that may be repeated.',
  variants: COMMON,
  setup: { ...ELEVEN, traffic: { ...ELEVEN.traffic, isIdempotent: true }, warmUpMs: 10_000, endMs: 20_000 },
  script: (fleet) => {
    fleet.at(10_000, () => fleet.servers.forEach((server) => server.failFast()));
  },
  bounds: [
    {
      what: 'attempts for each call, p2c',
      of: (rows) => rows('p2c').amplification,
      digits: 3,
      atMost: 1.2,
    },
  ],
};

const NORMAL = 11 * CAPACITY * 0.7;
const SECOND_US = 1_000_000;

export const overload: Scenario = {
  name: 'overload',
  title: 'Twice the calls for ten seconds',
  shows:
    'Eleven servers at 70 % get twice as many calls from 10 s to 20 s; each refuses calls beyond 64 in flight. Ten clients; calls take at most 1 s and may be repeated. Then the calls are as before, and so must be their answers: retries do not keep the overload alive.',
  variants: COMMON,
  setup: {
    ...ELEVEN,
    servers: servers(11, { maxInFlight: 64 }),
    clients: 10,
    traffic: {
      ...ELEVEN.traffic,
      callsPerSecond: (ms) => (ms >= 10_000 && ms < 20_000 ? 2 * NORMAL : NORMAL),
      timeoutMs: 1_000,
      isIdempotent: true,
    },
    endMs: 30_000,
  },
  chart: answeredChart,
  bounds: [
    {
      what: 'calls answered from 21 s on, in percent, p2c',
      of: (rows) => rows('p2c').log.answeredFrom(21 * SECOND_US) * 100,
      digits: 3,
      atLeast: 99.9,
    },
  ],
};

function answeredChart(rows: readonly Row[]): LineChart {
  return {
    title: 'Twice the calls that are normal from 10 s to 20 s',
    subtitle: 'Calls of each second that were answered.',
    x: 'seconds',
    y: 'calls',
    lines: rows.map(({ name, log }) => ({
      name,
      points: log.answeredOverTime(SECOND_US).map(([us, count]) => [us / SECOND_US, count]),
    })),
    bound: { name: 'what the servers bear', at: 11 * CAPACITY },
  };
}

export const scaleOut: Scenario = {
  name: 'scale-out',
  title: 'Five servers more, then five less',
  shows: 'Ten servers; at 10 s five more are listed, at 25 s five of the first are no longer. Ten clients.',
  variants: COMMON,
  setup: { ...ELEVEN, servers: servers(15), listed: 10, clients: 10, endMs: 35_000 },
  isLarge: true,
  script: (fleet) => {
    fleet.at(10_000, () => fleet.list(fleet.servers));
    fleet.at(25_000, () => fleet.list(fleet.servers.slice(5)));
  },
};
