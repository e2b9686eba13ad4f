import type { RandomNumbers } from '../../../lib/cluster/random-numbers.js';
import type { VirtualTime } from '../time/virtual-time.js';
import type { Attempt } from './attempt.js';
import { BusyTime } from './busy-time.js';
import { LoadReports } from './load-reports.js';
import { NETWORK } from './network.js';
import type { Outcome } from './outcome.js';
import type { SimEndpoint } from './sim-endpoint.js';

export interface ServerOptions {
  /** Calls that it works on at a time; others wait in its queue. */
  readonly cores: number;
  /** Microseconds that a call of mean work takes. */
  readonly serviceUs: number;
  /** Its hardware, relative to the others. */
  readonly speed: number;
  /** Refuses calls beyond so many in flight. */
  readonly maxInFlight: number;
  /** As its resolver says it. */
  readonly weight: number;
}

/**
 * - `up`: takes calls
 * - `draining`: refuses new ones, finishes those it has
 * - `frozen`: its process stands still; the kernel still accepts connections and data
 * - `down`: the process is gone; the kernel refuses connections
 * - `silent`: the machine is gone; nothing comes back
 */
export type ServerState = 'up' | 'draining' | 'frozen' | 'down' | 'silent';

/** How a server treats its calls beside its work. */
export interface Behaviour {
  /** Microseconds that a call waits in its handler, without a core. */
  readonly addedUs: (random: RandomNumbers) => number;
  /** Time that a call takes instead of work on a core; `undefined`: it works. */
  readonly timeUs: ((inFlight: number) => number) | undefined;
  /** How it ends: as it comes if it has a time, else when its work is done. */
  readonly outcome: (attempt: Attempt, inFlight: number, random: RandomNumbers, now: number) => Outcome;
}

export const HEALTHY: Behaviour = { addedUs: () => 0, timeUs: undefined, outcome: () => 'answered' };

/** Time of an error that costs no work. */
const FAST_US = 1_000;

/** A server: cores, a queue before them, and what may go wrong. */
export class SimServer {
  readonly address: string;
  readonly busy: BusyTime;
  behaviour = HEALTHY;
  state: ServerState = 'up';
  inFlight = 0;
  /** Counts those that have listened at its address: work of one does not come back in the next. */
  process = 1;
  #onClosed: () => void = () => undefined;
  /** Clients may not have seen yet that it drains. */
  #isAnnouncing = false;
  #working = 0;
  /** Calls that take their time without a core. */
  #held = 0;
  #queue: Attempt[] = [];
  #queueStart = 0;
  /** What was due while it stood still. */
  #stalled: (() => void)[] = [];
  readonly #connections = new Set<SimEndpoint>();
  readonly #reports: LoadReports;

  constructor(
    readonly index: number,
    readonly options: ServerOptions,
    private readonly time: VirtualTime,
    private readonly random: RandomNumbers,
  ) {
    this.address = `server-${index}:9000`;
    this.busy = new BusyTime(time);
    this.#reports = new LoadReports(this, time, random.below(250_000));
  }

  /** Its process exists and does not stand still. */
  get isRunning(): boolean {
    return this.state === 'up' || this.state === 'draining';
  }

  get connections(): number {
    return this.#connections.size;
  }

  // --- what clients do ----------------------------------------------------------------------------------------

  /** A client wants a connection; it is told by and by. */
  connect(endpoint: SimEndpoint, attempt: number): void {
    const { state } = this;
    if (state === 'silent') return;
    if (state === 'frozen') return void this.#stalled.push(() => this.connect(endpoint, attempt));
    if (state === 'up') endpoint.reached(attempt);
    else endpoint.unreachable(attempt);
  }

  connected(endpoint: SimEndpoint): void {
    this.#connections.add(endpoint);
  }

  disconnected(endpoint: SimEndpoint): void {
    this.#connections.delete(endpoint);
  }

  /** A ping came. */
  pinged(endpoint: SimEndpoint, connection: number): void {
    if (this.state === 'frozen') this.#stalled.push(() => this.pinged(endpoint, connection));
    else if (this.state !== 'silent') endpoint.ponged(connection);
  }

  arrive(attempt: Attempt): void {
    const { state } = this;
    // the client learns of a lost connection by itself
    if (state === 'down' || state === 'silent') return;
    if (state === 'frozen') return void this.#stalled.push(() => this.arrive(attempt));
    this.#reports.arrived(attempt.endpoint);
    const refusesAll = state === 'draining' && !this.#isAnnouncing;
    if (refusesAll || this.inFlight >= this.options.maxInFlight) {
      this.#reports.refused();
      attempt.answer('refused', NETWORK.oneWayUs);
      return;
    }
    this.inFlight += 1;
    attempt.process = this.process;
    const { timeUs } = this.behaviour;
    if (timeUs) this.#hold(attempt, timeUs(this.inFlight));
    else if (this.#working < this.options.cores) this.#work(attempt);
    else this.#queue.push(attempt);
  }

  // --- its work -----------------------------------------------------------------------------------------------

  /** It takes its time, without a core. */
  #hold(attempt: Attempt, us: number): void {
    this.#held += 1;
    this.busy.set(this.#working + this.#held);
    attempt.held = this.#outcomeOf(attempt);
    attempt.serve(us);
  }

  #work(attempt: Attempt): void {
    this.#working += 1;
    this.busy.set(this.#working + this.#held);
    const { serviceUs, speed } = this.options;
    attempt.isOnCore = true;
    attempt.serve(Math.max(1, Math.round((attempt.call.demand * serviceUs) / speed)));
  }

  /** The work of an attempt is done, or its time is over. */
  served(attempt: Attempt): void {
    if (attempt.process !== this.process) return;
    if (this.state === 'frozen') return void this.#stalled.push(() => this.served(attempt));
    if (attempt.isOnCore) {
      attempt.isOnCore = false;
      this.#working -= 1;
      this.#workOn();
      this.busy.set(this.#working + this.#held);
      const addedUs = this.behaviour.addedUs(this.random);
      if (addedUs > 0) return attempt.serve(addedUs);
    }
    if (attempt.held) {
      this.#held -= 1;
      this.busy.set(this.#working + this.#held);
    }
    const outcome = attempt.held ?? this.#outcomeOf(attempt);
    this.inFlight -= 1;
    this.#reports.ended(attempt.startedAt);
    attempt.answer(outcome, NETWORK.oneWayUs);
    this.#closeIfDrained();
  }

  #outcomeOf(attempt: Attempt): Outcome {
    return this.behaviour.outcome(attempt, this.inFlight, this.random, this.time.now());
  }

  /** Takes the next call of the queue that somebody still waits for. */
  #workOn(): void {
    while (this.#queueStart < this.#queue.length) {
      const next = this.#queue[this.#queueStart] as Attempt;
      this.#queueStart += 1;
      if (this.#queueStart > 64 && this.#queueStart * 2 > this.#queue.length) {
        this.#queue = this.#queue.slice(this.#queueStart);
        this.#queueStart = 0;
      }
      // its caller has cancelled it
      if (next.isOver) this.inFlight -= 1;
      else return this.#work(next);
    }
  }

  // --- what goes wrong ----------------------------------------------------------------------------------------

  /** Each call takes so long more, without a core. */
  slowDown(addedUs: number): void {
    this.behaviour = { ...HEALTHY, addedUs: () => addedUs };
  }

  /** Each call fails after a millisecond, without work. */
  failFast(): void {
    this.behaviour = { ...HEALTHY, timeUs: () => FAST_US, outcome: () => 'failed' };
  }

  heal(): void {
    this.behaviour = HEALTHY;
  }

  /** Its process dies: every connection is reset. */
  kill(): void {
    this.state = 'down';
    this.#forgetWork();
    for (const endpoint of this.#connections) endpoint.reset();
    this.#connections.clear();
  }

  /** Its machine vanishes: nobody is told. */
  vanish(): void {
    this.state = 'silent';
    this.#forgetWork();
    this.#connections.clear();
  }

  /** A new process listens. */
  start(): void {
    this.state = 'up';
    this.heal();
  }

  freeze(): void {
    this.state = 'frozen';
  }

  thaw(): void {
    this.state = 'up';
    const late = this.#stalled;
    this.#stalled = [];
    for (const run of late) run();
  }

  /** Announces that it ends, finishes its calls, closes; `onClosed` may start another one. */
  drain(onClosed: () => void): void {
    this.state = 'draining';
    this.#onClosed = onClosed;
    this.#isAnnouncing = true;
    for (const endpoint of this.#connections) endpoint.toldOfDrain();
    // it serves what clients have sent before they saw that
    this.time.after((2 * NETWORK.oneWayUs) / 1_000, () => {
      this.#isAnnouncing = false;
      this.#closeIfDrained();
    });
  }

  #closeIfDrained(): void {
    if (this.state === 'draining' && this.inFlight === 0 && !this.#isAnnouncing) this.#drained();
  }

  #drained(): void {
    this.state = 'down';
    this.#forgetWork();
    // its last answers are on their way before
    for (const endpoint of this.#connections) endpoint.closed();
    this.#connections.clear();
    this.#onClosed();
  }

  #forgetWork(): void {
    this.process += 1;
    this.inFlight = 0;
    this.#working = 0;
    this.#held = 0;
    this.busy.set(0);
    this.#queue = [];
    this.#queueStart = 0;
    this.#stalled = [];
  }
}
