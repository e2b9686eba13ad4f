import type { VirtualTime } from '../time/virtual-time.js';
import { Affinity } from './affinity.js';
import { CallLog } from './call-log.js';
import type { Outcome } from './outcome.js';
import type { SimCall } from './sim-call.js';
import type { SimServer } from './sim-server.js';

/** What is counted over a simulation, from the end of its warm-up. */
export class Measures {
  readonly calls = new CallLog();
  attempts = 0;
  ejections = 0;
  hedges = 0;
  readonly affinity = new Affinity();
  /** Times at which clients got a connection again, in microseconds. */
  readonly connectedUs: number[] = [];
  /** Share of the time that the cores of each server were busy. */
  loads: readonly number[] = [];
  #fromUs = Infinity;
  #busyBefore: readonly number[] = [];

  constructor(private readonly time: VirtualTime) {}

  start(servers: readonly SimServer[]): void {
    this.#fromUs = this.time.nowUs;
    this.#busyBefore = servers.map(({ busy }) => busy.us);
  }

  /** Calls that began so far still count as they end; the load of the servers is taken now. */
  stop(servers: readonly SimServer[]): void {
    const elapsedUs = this.time.nowUs - this.#fromUs;
    this.loads = servers.map(
      ({ busy, options }, index) =>
        (busy.us - (this.#busyBefore[index] as number)) / options.cores / elapsedUs,
    );
  }

  connected(): void {
    this.connectedUs.push(this.time.nowUs);
  }

  attempted(call: SimCall, server: SimServer): void {
    if (!this.#counts(call)) return;
    this.attempts += 1;
    if (call.body !== undefined) this.affinity.went(call.body, server.index);
  }

  hedged(call: SimCall): void {
    if (this.#counts(call)) this.hedges += 1;
  }

  ended(call: SimCall, outcome: Outcome): void {
    if (this.#counts(call)) this.calls.add(call.startedUs, this.time.nowUs - call.startedUs, outcome);
  }

  #counts({ startedUs }: SimCall): boolean {
    return startedUs >= this.#fromUs;
  }
}
