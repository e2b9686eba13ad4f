import type { Fleet } from '../fleet/fleet.js';
import { rendezvous } from '../fleet/subsets.js';
import type { Scenario } from '../scenario.js';
import { ALL_BALANCERS } from '../balancers.js';
import { CAPACITY, ELEVEN, servers } from './hardware.js';

const RESTART_MS = 2_000;

export const allFail: Scenario = {
  name: 'all-fail',
  title: 'All servers fail',
  shows:
    'From 10 s to 20 s every server answers every call with a 500. Eleven servers, one client, 2,000 calls a second that may be repeated.',
  balancers: ALL_BALANCERS,
  setup: { ...ELEVEN, traffic: { ...ELEVEN.traffic, isIdempotent: true }, warmUpMs: 10_000, endMs: 20_000 },
  script: (fleet) => {
    fleet.at(10_000, () => fleet.servers.forEach((server) => server.failFast()));
  },
  bounds: [
    {
      what: 'attempts for each call',
      balancer: 'p2c',
      of: (row) => row.amplification,
      digits: 3,
      atMost: 1.2,
    },
  ],
};

export const rollingRestart: Scenario = {
  name: 'rolling-restart',
  title: 'Rolling restart',
  shows:
    'Each of eleven servers drains, closes and listens again 2 s later, one every 2.5 s. One client, 2,000 calls a second that must not run twice.',
  balancers: ALL_BALANCERS,
  setup: { ...ELEVEN, endMs: 45_000 },
  script: (fleet) => {
    fleet.servers.forEach((server, index) => {
      fleet.at(7_500 + index * 2_500, () => {
        server.drain(() => fleet.at(fleet.time.now() + RESTART_MS, () => server.start()));
      });
    });
  },
  bounds: [
    {
      what: 'calls answered, in percent',
      balancer: 'p2c',
      of: (row) => row.answered * 100,
      digits: 3,
      atLeast: 100,
    },
  ],
};

const NORMAL = 11 * CAPACITY * 0.7;

export const overload: Scenario = {
  name: 'overload',
  title: 'Twice the calls for ten seconds',
  shows:
    'Eleven servers at 70 % get twice as many calls from 10 s to 20 s; each refuses calls beyond 64 in flight. Ten clients; calls take at most 1 s and may be repeated. Then the calls are as before, and so must be their answers: retries do not keep the overload alive.',
  balancers: ALL_BALANCERS,
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
  bounds: [
    {
      what: 'calls answered from 21 s on, in percent',
      balancer: 'p2c',
      of: (row) => row.measures.calls.answeredFrom(21_000_000) * 100,
      digits: 3,
      atLeast: 99.9,
    },
  ],
};

export const scaleOut: Scenario = {
  name: 'scale-out',
  title: 'Five servers more, then five less',
  shows: 'Ten servers; at 10 s five more are listed, at 25 s five of the first are no longer. Ten clients.',
  balancers: ALL_BALANCERS,
  setup: { ...ELEVEN, servers: servers(15), listed: 10, clients: 10, endMs: 35_000 },
  script: (fleet) => {
    fleet.at(10_000, () => fleet.list(fleet.servers));
    fleet.at(25_000, () => fleet.list(fleet.servers.slice(5)));
  },
};

export const restartStorm: Scenario = {
  name: 'restart-storm',
  title: 'All servers restart',
  shows:
    '100 servers, 1,000 clients of 20 connections each: all servers die at 5 s and listen again 2 s later.',
  balancers: ['p2c'],
  isLarge: true,
  setup: {
    servers: servers(100),
    clients: 1_000,
    subset: rendezvous(20),
    traffic: { callsPerSecond: () => 4_000, timeoutMs: 5_000, isIdempotent: true, targets: ['/fleet/call'] },
    warmUpMs: 4_000,
    endMs: 16_000,
  },
  script: (fleet: Fleet) => {
    fleet.at(5_000, () => fleet.servers.forEach((server) => server.kill()));
    fleet.at(5_000 + RESTART_MS, () => fleet.servers.forEach((server) => server.start()));
  },
  bounds: [
    {
      what: 'connections made in any 100 ms, in percent',
      balancer: 'p2c',
      of: ({ measures }) => busiestShare(measures.connectedUs, 100_000) * 100,
      digits: 1,
      atMost: 5,
    },
  ],
};

/** The largest share of times that lies in one interval of this length; the times are in order. */
export function busiestShare(times: readonly number[], length: number): number {
  let first = 0;
  let most = 0;
  times.forEach((time, index) => {
    while (time - (times[first] as number) >= length) first += 1;
    most = Math.max(most, index - first + 1);
  });
  return most / times.length;
}
