import { ordinal, type Subset, TWENTY } from '../fleet/subsets.js';
import { SimServer } from '../fleet/sim-server.js';
import { checked, type Part, type Section } from '../part.js';
import { maxToMean } from '../row.js';
import { RandomNumbers } from '../../../lib/cluster/random-numbers.js';
import { VirtualTime } from '../time/virtual-time.js';
import { servers as serverOptions } from './hardware.js';

const SERVERS = 1_000;
const CLIENTS = 10_000;
const SIZE = 20;

/** The connections of 10,000 clients to 1,000 servers, and what happens to them if one server goes. */
export const subsets: Part = { name: 'subsets', isLarge: true, run };

/** What is counted of one kind of subset. */
interface Counts {
  readonly name: string;
  /** The most connections of a server, to the mean. */
  readonly most: number;
  /** The fewest. */
  readonly fewest: number;
  /** Connections that a client opens if one server goes: the most of all clients. */
  readonly opened: number;
  /** Clients that open any. */
  readonly affected: number;
}

function run(): Section {
  const rendezvous = countsOf('rendezvous', TWENTY);
  const byOrdinal = countsOf('ordinal', ordinal(SIZE, CLIENTS));
  return {
    name: 'subsets',
    title: 'Connections per server',
    shows:
      '1,000 servers, 10,000 clients, each of which uses 20 servers; the mean is 200 connections of each server. Then one server goes: how many connections does a client open instead, at most, and how many clients do?',
    headings: ['Subset', 'Most/mean', 'Fewest/mean', 'Opened by a client', 'Clients that open'],
    lines: [rendezvous, byOrdinal].map(({ name, most, fewest, opened, affected }) => [
      name,
      most.toFixed(3),
      fewest.toFixed(3),
      String(opened),
      String(affected),
    ]),
    bounds: [
      checked({ what: 'most to mean, by rendezvous', digits: 2, atMost: 1.25 }, rendezvous.most),
      checked({ what: 'most to mean, by ordinal', digits: 2, atMost: 1 }, byOrdinal.most),
      checked({ what: 'connections that a client opens', digits: 0, atMost: 1 }, rendezvous.opened),
    ],
  };
}

function countsOf(name: string, subset: Subset): Counts {
  const time = new VirtualTime();
  const random = new RandomNumbers(1);
  const all = serverOptions(SERVERS).map((options, index) => new SimServer(index, options, time, random));
  const left = all.filter(({ index }) => index !== SERVERS / 2);
  const connections = Array.from({ length: SERVERS }, () => 0);
  let most = 0;
  let affected = 0;
  for (let client = 0; client < CLIENTS; client += 1) {
    const before = new Set(subset(all, client));
    for (const { index } of before) (connections[index] as number) += 1;
    const opened = subset(left, client).filter((server) => !before.has(server)).length;
    most = Math.max(most, opened);
    if (opened > 0) affected += 1;
  }
  return {
    name,
    most: maxToMean(connections),
    fewest: (Math.min(...connections) * SERVERS) / (CLIENTS * SIZE),
    opened: most,
    affected,
  };
}
