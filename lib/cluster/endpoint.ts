import type { Clock, Timer } from '../protocol/clock.js';
import type { Fault } from '../protocol/fault.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import { connectionLost } from '../rpc/connection/connection-lost.js';
import type { LoadReport } from '../rpc/connection/load-report.js';
import type { Candidate } from './balancing/balancer.js';
import { Traffic } from './balancing/traffic.js';
import type { Backoff, Ending } from './backoff.js';
import type { ConnectOptions } from './connect-attempt.js';
import { PROBE_MS } from './failures/ejection.js';
import { Pool, type PoolLoss, type PoolOptions, type PoolOwner } from './pool.js';
import type { Searched } from './search.js';
import { type ServerAddress, weightOf } from './server-address.js';

/**
 * State of a server, as the client sees it. Each state owns its timer.
 *
 * - `idle`: not connected, and nothing tries to
 * - `connecting`: the first connection is being opened
 * - `ready`: takes calls
 * - `suspect`: silent while calls are in flight; takes no calls while others can
 * - `ejected`: its calls failed; takes no calls until a probe succeeds
 * - `backingOff`: not connected; the timer starts the next attempt
 * - `draining`: it has announced its shutdown; calls in flight go on, the timer starts the next attempt
 * - `gone`: not listed any more; calls in flight go on
 *
 * |              | connect    | usable  | lost, unreachable | shutdown   | suspect | heard | eject     | returned | timer      | remove |
 * | ------------ | ---------- | ------- | ----------------- | ---------- | ------- | ----- | --------- | -------- | ---------- | ------ |
 * | `idle`       | connecting | -       | -                 | -          | -       | -     | -         | -        | -          | gone   |
 * | `connecting` | -          | ready * | backingOff        | draining   | -       | -     | -         | -        | -          | gone   |
 * | `ready`      | -          | -       | backingOff **     | draining   | suspect | -     | ejected   | -        | -          | gone   |
 * | `suspect`    | -          | -       | backingOff **     | draining   | -       | ready | ejected   | -        | -          | gone   |
 * | `ejected`    | -          | -       | backingOff **     | draining   | -       | -     | new timer | ready    | probe due  | gone   |
 * | `backingOff` | connecting | ready * | new timer         | draining   | -       | -     | -         | -        | connecting | gone   |
 * | `draining`   | connecting | ready * | backingOff        | -          | -       | -     | -         | -        | connecting | gone   |
 * | `gone`       | -          | -       | -                 | -          | -       | -     | -         | -        | -          | -      |
 *
 * \* `ejected`, if its ejection is not over. \*\* `connecting`, if an attempt is under way.
 *
 * When the client is closed or drained, all but `gone` become `idle`.
 */
type State =
  | { readonly name: 'idle' | 'connecting' | 'ready' | 'suspect' | 'gone' }
  | { readonly name: 'backingOff' | 'draining'; readonly timer: Timer }
  | { readonly name: 'ejected'; readonly timer: Timer; probe: 'waiting' | 'due' | 'running' };

export type EndpointState = State['name'];

/** A server has changed its state: see `EndpointState`. */
export interface EndpointChange {
  readonly address: string;
  readonly state: EndpointState;
  readonly reason: string | undefined;
}

/** Numbers of one server. */
export interface EndpointCounts {
  /** `host:port`, or the path of a Unix socket. */
  readonly address: string;
  readonly state: EndpointState;
  readonly weight: number;
  /** Open connections to it. */
  readonly connections: number;
  /** Calls without an outcome, and open channels. */
  readonly inFlight: number;
  /** Peak EWMA of the latency in milliseconds, failures included; `undefined` before the first call. */
  readonly latencyMs: number | undefined;
  /** Calls that were sent to it. */
  readonly picks: number;
  /** Calls that failed because of it. */
  readonly failures: number;
  /** Time until its ejection ends, in milliseconds; `undefined` if it is not ejected. */
  readonly ejectedForMs: number | undefined;
  /** Why it was ejected last. */
  readonly reason: string | undefined;
}

/** What an endpoint asks and tells its fleet. */
export interface EndpointOwner {
  /** Its state has changed. */
  changed(endpoint: Endpoint, state: EndpointState, reason: string | undefined): void;
  /** It cannot be reached, or was lost. */
  unreachable(endpoint: Endpoint, reason: Fault): void;
  /** How long its next attempt to connect may wait. */
  patienceFor(endpoint: Endpoint): Pick<Ending, 'hasOthers' | 'isOutage' | 'isOneOfMany'>;
  /** Until when it is ejected, on the clock; `undefined` if it is not. */
  ejectedUntil(endpoint: Endpoint): number | undefined;
  /** Its connections that took no new calls any more, and those that were leased, are closed. */
  drained(endpoint: Endpoint): void;
}

export interface EndpointOptions {
  readonly address: string;
  readonly server: ServerAddress;
  readonly connect: ConnectOptions;
  readonly pool: PoolOptions;
  /** How it reconnects. */
  readonly backoff: Backoff;
  readonly owner: EndpointOwner;
  readonly random: () => number;
}

/** One server of a fleet: its state, its connections, and the calls to it. */
export class Endpoint implements Candidate, PoolOwner, Searched {
  readonly address: string;
  readonly traffic: Traffic;
  readonly pool: Pool;
  /** What the list says about it now. */
  server!: ServerAddress;
  weight = 1;
  isSoon = false;
  metadata: Readonly<Record<string, unknown>> | undefined;
  /** When an attempt to connect has failed last, or its connection was lost. */
  failedAt = -Infinity;
  /** Why it was lost last. */
  lostBy: Fault | undefined;
  #state: State = { name: 'idle' };
  #reason: string | undefined;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #owner: EndpointOwner;

  constructor({ address, server, connect, pool, backoff, owner, random }: EndpointOptions) {
    this.address = address;
    this.describe(server);
    this.#clock = connect.clock;
    this.#backoff = backoff;
    this.#owner = owner;
    this.traffic = new Traffic();
    this.pool = new Pool(connect, pool, this, random);
  }

  get state(): EndpointState {
    return this.#state.name;
  }

  /** Whether it has a connection that takes calls. */
  get isOpen(): boolean {
    return this.pool.isUsable;
  }

  /** A peer for one more call; `undefined` if there is no connection. */
  get peer(): ClientPeer | undefined {
    return this.pool.peer(this.traffic.inFlight);
  }

  /** Its ejection is over, and no call probes it yet. */
  get isProbeDue(): boolean {
    return this.#state.name === 'ejected' && this.#state.probe === 'due';
  }

  counts(): EndpointCounts {
    const { address, state, weight, traffic, pool } = this;
    const now = this.#clock.now();
    const until = this.#owner.ejectedUntil(this);
    return {
      address,
      state,
      weight,
      connections: pool.size,
      inFlight: traffic.inFlight,
      latencyMs: traffic.hasHistory ? traffic.latencyMs(now) : undefined,
      picks: traffic.picks,
      failures: traffic.failures,
      ejectedForMs: until === undefined ? undefined : Math.max(0, until - now),
      reason: this.#reason,
    };
  }

  /** Takes over what the list says about it; new connections go by that. @returns whether its weight has changed */
  describe(server: ServerAddress): boolean {
    const before = this.weight;
    this.server = server;
    this.weight = weightOf(server);
    this.metadata = server.metadata;
    return this.weight !== before;
  }

  // --- events -------------------------------------------------------------------------------------------------

  /** Connects, unless it is or does already. */
  connect(): void {
    const { name } = this.#state;
    if (name !== 'idle' && name !== 'backingOff' && name !== 'draining') return;
    this.#enter({ name: 'connecting' });
    if (this.state === 'connecting') this.pool.open(); // a listener may have closed it
  }

  /** Whether it waits for its next attempt to connect. */
  get isWaiting(): boolean {
    return this.#state.name === 'backingOff' || this.#state.name === 'draining';
  }

  /** It is needed: its next attempt comes soon. */
  hurry(): void {
    const { name } = this.#state;
    if (name !== 'backingOff' && name !== 'draining') return;
    this.isSoon = true;
    this.#enter({ name, timer: this.#clock.after(this.#backoff.soonMs(), () => this.connect()) });
  }

  /** Its calls have failed: no calls until a probe succeeds after `untilMs` on the clock. */
  eject(untilMs: number, reason: string): void {
    this.#reason = reason;
    const { name } = this.#state;
    if (name === 'ready' || name === 'suspect' || name === 'ejected') this.#enterEjected(untilMs);
  }

  /** A call goes to it as its probe, and no other until that has an outcome, or takes too long. */
  beginProbe(): void {
    if (this.#state.name !== 'ejected') return;
    const timer = this.#clock.after(PROBE_MS, () => this.#probeIsDue());
    this.#enter({ name: 'ejected', timer, probe: 'running' });
  }

  /** The probe said nothing about the server: another is needed. */
  repeatProbe(): void {
    if (this.#state.name === 'ejected' && this.#state.probe === 'running') this.#state.probe = 'due';
  }

  /** A probe has succeeded. */
  returned(): void {
    if (this.#state.name === 'ejected') this.#enter({ name: 'ready' }, 'a probe succeeded');
  }

  /** The resolver does not list it any more. */
  remove(): void {
    if (this.#state.name === 'gone') return;
    this.lostBy = connectionLost(`${this.address} is not listed any more`, undefined, 'no');
    this.#enter({ name: 'gone' }, 'it is not listed any more');
    this.pool.retire();
  }

  /** Closes all connections at once. A later `connect` opens new ones. */
  close(reason: string): void {
    this.#reset();
    this.pool.close(reason);
  }

  /** Lets calls in flight end, then closes the connections. */
  finish(): void {
    this.#reset();
    this.pool.finish();
  }

  #reset(): void {
    if (this.#state.name !== 'gone' && this.#state.name !== 'idle') this.#enter({ name: 'idle' });
  }

  // --- PoolOwner ----------------------------------------------------------------------------------------------

  usable(): void {
    const { name } = this.#state;
    if (name !== 'connecting' && name !== 'backingOff' && name !== 'draining') return;
    this.isSoon = false;
    // another process may have the address now: its calls ramp up again
    if (this.lostBy) this.traffic.joined(this.#clock.now());
    this.#backoff.opened();
    const until = this.#owner.ejectedUntil(this);
    if (until === undefined) this.#enter({ name: 'ready' });
    else this.#enterEjected(until);
  }

  unusable(reason: Fault, { isShutdown, isOrderly }: PoolLoss): void {
    const { name } = this.#state;
    if (name === 'idle' || name === 'gone') return;
    this.lostBy = reason;
    this.failedAt = this.#clock.now();
    const isNew = name !== 'backingOff' && name !== 'draining';
    if (!isShutdown && isNew && this.pool.isConnecting) this.#enter({ name: 'connecting' }, reason.message);
    else this.#enterWaiting(isShutdown ? 'draining' : 'backingOff', isOrderly, reason.message);
    this.#owner.unreachable(this, reason);
  }

  suspected(isSuspect: boolean): void {
    const { name } = this.#state;
    if (isSuspect && name === 'ready')
      this.#enter({ name: 'suspect' }, 'it is silent while calls are in flight');
    if (!isSuspect && name === 'suspect') this.#enter({ name: 'ready' }, 'it is heard again');
  }

  reported(report: LoadReport): void {
    this.traffic.reported(report, this.#clock.now());
  }

  drained(): void {
    this.#owner.drained(this);
  }

  // --- states -------------------------------------------------------------------------------------------------

  #enterWaiting(name: 'backingOff' | 'draining', isOrderly: boolean, reason?: string): void {
    const delayMs = this.#backoff.nextDelayMs({ isOrderly, ...this.#owner.patienceFor(this) });
    const timer = this.#clock.after(delayMs, () => this.connect());
    this.#enter({ name, timer }, reason);
  }

  #enterEjected(untilMs: number): void {
    const leftMs = Math.max(0, untilMs - this.#clock.now());
    const timer = this.#clock.after(leftMs, () => this.#probeIsDue());
    this.#enter({ name: 'ejected', timer, probe: 'waiting' }, this.#reason);
  }

  #probeIsDue(): void {
    if (this.#state.name !== 'ejected' || this.#state.probe === 'due') return;
    this.#state.probe = 'due';
    this.#owner.changed(this, 'ejected', 'a probe is due');
  }

  #enter(state: State, reason?: string): void {
    const before = this.#state;
    if ('timer' in before) before.timer.cancel();
    this.#state = state;
    if (before.name !== state.name) this.#owner.changed(this, state.name, reason);
  }
}
