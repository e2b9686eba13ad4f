import { balancers, COMMON, ideal } from '../balancers.js';
import type { LineChart } from '../report/line-chart.js';
import { maxToMean, type Row } from '../row.js';
import type { Bound, Scenario, Setup } from '../scenario.js';
import { TWENTY } from '../fleet/subsets.js';
import { mixedServers, THOUSAND } from './hardware.js';

/** 70 % of what servers of 4 cores bear whose calls take so long. */
function busy(servers: number, clients: number, serviceUs: number): Setup {
  return {
    ...THOUSAND,
    servers: mixedServers(servers, { cores: 4, serviceUs }),
    clients,
    subset: TWENTY,
    traffic: {
      callsPerSecond: () => (0.7 * servers * 4 * 1_000_000) / serviceUs,
      timeoutMs: 2_000,
      isIdempotent: false,
      targets: ['/fleet/call'],
    },
  };
}

const evenLoad: Bound = {
  what: 'load of the busiest server to the mean, p2c',
  of: (rows) => maxToMean(rows('p2c').loads),
  digits: 3,
  atMost: 1.05,
};

/** 100 servers, half of them twice as fast as the others. */
export const spread: Scenario = {
  name: 'spread',
  title: 'Hardware that differs by two',
  shows:
    '100 servers of four cores, every second one twice as fast as the others; 1,000 clients, each of which uses 20 of them. A call takes 4 ms on a core of mean hardware, and the calls are 70 % of what the fleet bears: 700 a second for each server. Over the 15 s that are measured, chance alone gives a slow server up to 3 % more work than the mean. `ideal` knows at each moment what is in flight at each server. With 1,000 servers and 10,000 clients, over 40 s, the load of the busiest server is 1.039 times the mean by p2c: `npm run simulate -- --only spread-1000 --out folder` shows it in five minutes.',
  variants: [...COMMON, ideal],
  setup: { ...busy(100, 1_000, 4_000), warmUpMs: 5_000, endMs: 20_000 },
  isLarge: true,
  chart: loadChart,
  bounds: [evenLoad],
};

/** So long that chance is less than what the bound leaves: 14 million calls, five minutes, 4 GB. */
export const spreadOf1000: Scenario = {
  name: 'spread-1000',
  title: 'Hardware that differs by two, 1,000 servers',
  shows: 'The same with 1,000 servers, 10,000 clients of 20 connections each, and calls of 8 ms, over 40 s.',
  variants: balancers('p2c'),
  setup: { ...busy(1_000, 10_000, 8_000), warmUpMs: 5_000, endMs: 45_000 },
  isLarge: true,
  isLong: true,
  bounds: [evenLoad],
};

/** The loads of servers in their order. */
function loadChart(rows: readonly Row[]): LineChart {
  return {
    title: 'Load of 100 servers, every second one twice as fast as the others',
    subtitle: 'The share of its cores that each server used, the least busy one first.',
    x: 'servers',
    y: '%',
    lines: rows.map(({ name, loads }) => ({
      name,
      points: loads.toSorted((a, b) => a - b).map((load, index) => [index + 1, load * 100]),
    })),
  };
}
