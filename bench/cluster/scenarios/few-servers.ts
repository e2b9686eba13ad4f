import { balancers, COMMON, p2c } from '../balancers.js';
import { everyServer } from '../fleet/subsets.js';
import { type Behaviour, HEALTHY, type SimServer } from '../fleet/sim-server.js';
import { LATE, percent } from '../report/columns.js';
import { maxToMean, type Row } from '../row.js';
import type { Scenario, Setup } from '../scenario.js';
import { CAPACITY, ELEVEN, servers } from './hardware.js';

const SERVICE_US = 5_000;

const three: Setup = {
  ...ELEVEN,
  servers: servers(3, { serviceUs: SERVICE_US }),
  traffic: { ...ELEVEN.traffic, callsPerSecond: () => 1_000 },
  warmUpMs: 5_000,
  endMs: 25_000,
};

/** One of three servers takes 50 ms for a call, the others 5. */
export const oneSlow: Scenario = {
  name: 'one-slow',
  title: 'One of three servers slow by a factor of ten',
  shows:
    'Three servers that take 5 ms for a call of mean work; one of them takes 50 ms from the start on. One client, 1,000 calls a second.',
  setup: three,
  script: (fleet) => fleet.servers[0]?.slowDown(50_000 - SERVICE_US),
  variants: [{ name: 'p2c, none slow', balancer: p2c, script: () => undefined }, ...COMMON],
  bounds: [
    {
      what: 'p99 by p2c, as a multiple of that without the slow server',
      of: (rows) => rows('p2c').p99Ms / rows('p2c, none slow').p99Ms,
      digits: 2,
      atMost: 2,
    },
  ],
};

const FREEZES = 10;
const FIRST_FREEZE_MS = 5_000;
const FREEZE_MS = 8_000;
/** From one freeze to the next. */
const CYCLE_MS = 12_000;
/** No call takes so long, unless its server is frozen. */
const LONG_US = 1_000_000;

const SOMETIMES_SLOW: Behaviour = {
  ...HEALTHY,
  addedUs: (random) => (random.next() < 0.06 ? 50_000 + random.below(300_000) : 0),
};

/** The longest time from a freeze until the last call is sent to the server, in milliseconds. */
function lastPickMs({ log }: Row): number {
  let longest = 0;
  for (let index = 0; index < log.count; index += 1) {
    if (log.tookUs(index) < LONG_US) continue;
    const sinceFreezeMs = (log.startedUs(index) / 1_000 - FIRST_FREEZE_MS) % CYCLE_MS;
    // others were in flight as it froze
    if (sinceFreezeMs < FREEZE_MS) longest = Math.max(longest, sinceFreezeMs);
  }
  return longest;
}

export const frozenAmongSlow: Scenario = {
  name: 'frozen-among-slow',
  title: 'One of three servers freezes, and some calls are slow',
  shows: `Three servers, one client, 700 calls a second of a millisecond, of which 6 % take 50 to 350 ms more. ${FREEZES} times one server stands still for 8 s. Whether a server is frozen or has a slow call, a client sees only by how long its calls there wait. What is sent to it meanwhile is answered as it goes on.`,
  setup: {
    ...ELEVEN,
    servers: servers(3, { serviceUs: 1_000 }),
    traffic: { ...ELEVEN.traffic, callsPerSecond: () => 700, timeoutMs: 25_000 },
    warmUpMs: 2_000,
    endMs: FIRST_FREEZE_MS + FREEZES * CYCLE_MS,
  },
  script: (fleet) => {
    for (const server of fleet.servers) server.behaviour = SOMETIMES_SLOW;
    for (let freeze = 0; freeze < FREEZES; freeze += 1) {
      const server = fleet.servers[freeze % 3] as SimServer;
      const atMs = FIRST_FREEZE_MS + freeze * CYCLE_MS;
      fleet.at(atMs, () => server.freeze());
      fleet.at(atMs + FREEZE_MS, () => server.thaw());
    }
  },
  variants: COMMON,
  columns: [LATE, { heading: 'Last pick after', of: (row) => `${lastPickMs(row).toFixed(0)} ms` }],
  bounds: [
    {
      what: 'time from a freeze to the last pick by p2c, in ms',
      of: (rows) => lastPickMs(rows('p2c')),
      digits: 0,
      atMost: 500,
    },
  ],
};

const HICCUPS: Behaviour = { ...HEALTHY, addedUs: (random) => (random.next() < 0.02 ? 200_000 : 0) };

export const hedging: Scenario = {
  name: 'hedging',
  title: 'Hedging',
  shows:
    'Eleven servers; two of a hundred calls take 200 ms more, by chance, as by a pause of the garbage collector. One client, 1,000 calls a second that may be repeated. With hedging, a call that takes longer than 95 of 100 gets a second attempt on another server.',
  differIn: 'Client',
  setup: {
    ...ELEVEN,
    traffic: { ...ELEVEN.traffic, callsPerSecond: () => 1_000, isIdempotent: true },
    endMs: 25_000,
  },
  script: (fleet) => fleet.servers.forEach((server) => (server.behaviour = HICCUPS)),
  variants: [
    { name: 'p2c', balancer: p2c },
    { name: 'p2c, hedging', balancer: p2c, setup: { hedge: true } },
  ],
  columns: [{ heading: 'Hedges', of: ({ hedges, calls }) => percent(hedges / calls, 2) }],
  bounds: [
    {
      what: 'p99 with hedging, as a multiple of that without',
      of: (rows) => rows('p2c, hedging').p99Ms / rows('p2c').p99Ms,
      digits: 2,
      atMost: 0.5,
    },
    {
      what: 'attempts for each call with hedging',
      of: (rows) => rows('p2c, hedging').amplification,
      digits: 3,
      atMost: 1.05,
    },
  ],
};

export const hashed: Scenario = {
  name: 'consistent-hash',
  title: 'Consistent hashing while a server is dead',
  shows:
    'Eleven servers, ten clients, 2,000 calls a second with one of 10,000 keys. One server dies at 10 s and listens again at 20 s. Its keys must go to others, and those of the others must stay, unless a server has more than 1.25 times its share.',
  setup: {
    ...ELEVEN,
    clients: 10,
    traffic: { ...ELEVEN.traffic, isIdempotent: true, keys: 10_000 },
    endMs: 30_000,
  },
  script: (fleet) => {
    const dead = fleet.servers[0] as SimServer;
    fleet.at(10_000, () => dead.kill());
    fleet.at(20_000, () => dead.start());
  },
  variants: balancers('consistentHash', 'p2c'),
  columns: [{ heading: 'Same server as before', of: ({ sameServer }) => percent(sameServer, 1) }],
  bounds: [
    {
      what: 'calls answered, in percent, consistentHash',
      of: (rows) => rows('consistentHash').answered * 100,
      digits: 3,
      atLeast: 100,
    },
  ],
};

/** Weights that say what the hardware is. */
export const weights: Scenario = {
  name: 'weights',
  title: 'Weights',
  shows:
    'Twelve servers: four of the weight 1, four of 2, four of 4, each as fast as its weight says. Ten clients, 70 % of what all bear. Only a balancer that heeds weights loads them alike.',
  setup: {
    ...ELEVEN,
    servers: [1, 2, 4].flatMap((weight) => servers(4, { weight, speed: weight })),
    clients: 10,
    subset: everyServer,
    traffic: { ...ELEVEN.traffic, callsPerSecond: () => 0.7 * 4 * 7 * CAPACITY },
    warmUpMs: 2_000,
    endMs: 10_000,
  },
  isLarge: true,
  variants: balancers('weighted', 'p2c', 'random', 'roundRobin'),
  bounds: [
    {
      what: 'load of the busiest server to the mean, weighted',
      of: (rows) => maxToMean(rows('weighted').loads),
      digits: 3,
      atMost: 1.05,
    },
  ],
};
