import type { Balancer, BalancerOptions } from '../../../lib/cluster/balancing/balancer.js';
import { Search } from '../../../lib/cluster/search.js';
import { RandomNumbers } from '../../../lib/cluster/random-numbers.js';
import { VirtualTime } from '../time/virtual-time.js';
import { Callers, type Traffic } from './callers.js';
import { Deadlines } from './deadlines.js';
import { Measures } from './measures.js';
import { SimClient } from './sim-client.js';
import type { SimEndpoint } from './sim-endpoint.js';
import { type ServerOptions, SimServer } from './sim-server.js';

/** Makes the balancer of a client. */
export type MakeBalancer = (options: BalancerOptions) => Balancer<SimEndpoint>;

export interface FleetOptions {
  readonly seed: number;
  /** Each server. */
  readonly servers: readonly ServerOptions[];
  /** How many of them clients know at the start. Default: all. */
  readonly listed?: number;
  readonly clients: number;
  /** The servers that a client uses. */
  readonly subset: (servers: readonly SimServer[], client: number) => readonly SimServer[];
  readonly traffic: Traffic;
  readonly balancer: MakeBalancer;
  /** Calls that take long get a second attempt. Default: no. */
  readonly hedge?: boolean;
  /** Measures begin then. */
  readonly warmUpMs: number;
  /** And calls end then. */
  readonly endMs: number;
}

/** Servers, the clients that call them, and the time of both. */
export class Fleet {
  readonly time = new VirtualTime();
  /** For what clients decide. */
  readonly random: RandomNumbers;
  readonly servers: readonly SimServer[];
  readonly clients: readonly SimClient[];
  /** Which servers a client tries soon if it reaches none. */
  readonly search: Search<SimEndpoint>;
  readonly deadlines: Deadlines;
  readonly measures: Measures;
  readonly #callers: Callers;

  constructor(readonly options: FleetOptions) {
    const { seed, servers, clients, traffic, subset, balancer } = options;
    this.random = new RandomNumbers(seed);
    this.search = new Search(this.random.next);
    const ofServers = new RandomNumbers(seed + 1);
    this.deadlines = new Deadlines(this.time, traffic.timeoutMs * 1_000);
    this.measures = new Measures(this.time);
    this.servers = servers.map((server, index) => new SimServer(index, server, this.time, ofServers));
    const listed = this.servers.slice(0, options.listed ?? servers.length);
    const makes: BalancerOptions = { now: () => this.time.now(), random: this.random.next };
    this.clients = Array.from({ length: clients }, () => new SimClient(this, balancer(makes)));
    this.clients.forEach((client, index) => client.use(subset(listed, index), true));
    // what is called does not depend on what clients decide: all balancers meet the same calls
    this.#callers = new Callers(this, traffic, new RandomNumbers(seed + 2));
  }

  /** All clients learn, within a second, that these are the servers now. */
  list(servers: readonly SimServer[]): void {
    this.clients.forEach((client, index) => {
      const delayUs = this.random.below(1_000_000);
      this.time.after(delayUs / 1_000, () => client.use(this.options.subset(servers, index), false));
    });
  }

  /** Does something to the fleet at a time. */
  at(ms: number, action: () => void): void {
    this.time.after(ms - this.time.now(), action);
  }

  run(): void {
    const { warmUpMs, endMs, traffic } = this.options;
    this.#callers.start();
    this.time.runUntil(warmUpMs * 1_000);
    this.measures.start(this.servers);
    this.time.runUntil(endMs * 1_000);
    this.measures.stop(this.servers);
    this.#callers.stop();
    // until the last call has ended
    this.time.runUntil((endMs + traffic.timeoutMs) * 1_000);
  }
}
