import { exponential } from '../time/exponential.js';
import type { RandomNumbers } from '../../../lib/cluster/random-numbers.js';
import type { EventHandler } from '../time/virtual-time.js';
import type { Fleet } from './fleet.js';
import { SimCall } from './sim-call.js';
import type { SimClient } from './sim-client.js';

/** What is called. */
export interface Traffic {
  /** Calls a second of all clients, as it is at a time. */
  readonly callsPerSecond: (ms: number) => number;
  readonly timeoutMs: number;
  readonly isIdempotent: boolean;
  /** Calls go to one of them. */
  readonly targets: readonly string[];
  /** Each call has one of so many keys. Default: none has one. */
  readonly keys?: number;
}

/** The work of a call as a multiple of the mean: half of it is the same for all. */
const SAME_WORK = 0.5;

/** Makes calls at random clients, independently of each other. */
export class Callers implements EventHandler {
  #isStopped = false;

  constructor(
    private readonly fleet: Fleet,
    private readonly traffic: Traffic,
    private readonly random: RandomNumbers,
  ) {}

  start(): void {
    this.#await();
  }

  stop(): void {
    this.#isStopped = true;
  }

  onEvent(): void {
    if (this.#isStopped) return;
    const { random, traffic, fleet } = this;
    const client = fleet.clients[random.below(fleet.clients.length)] as SimClient;
    const demand = SAME_WORK + (1 - SAME_WORK) * exponential(random);
    const { targets, keys } = traffic;
    const target = targets.length === 1 ? targets[0] : targets[random.below(targets.length)];
    const key = keys === undefined ? undefined : random.below(keys);
    client.call(new SimCall(client, target as string, fleet.time.nowUs, demand, key));
    this.#await();
  }

  #await(): void {
    const { time } = this.fleet;
    const rate = this.traffic.callsPerSecond(time.now());
    time.at(time.nowUs + Math.round((exponential(this.random) * 1_000_000) / rate), this);
  }
}
