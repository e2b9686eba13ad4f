import { Backoff, DEFAULT_RECONNECT } from '../../../lib/cluster/backoff.js';
import type { Candidate } from '../../../lib/cluster/balancing/balancer.js';
import { Traffic } from '../../../lib/cluster/balancing/traffic.js';
import type { Searched } from '../../../lib/cluster/search.js';
import type { LoadReport } from '../../../lib/rpc/connection/load-report.js';
import type { EventHandler } from '../time/virtual-time.js';
import type { Attempt } from './attempt.js';
import { NETWORK } from './network.js';
import type { Outcome } from './outcome.js';
import type { SimClient } from './sim-client.js';
import { type Pinged, SimKeepAlive } from './sim-keep-alive.js';
import type { SimServer } from './sim-server.js';

/**
 * - `connecting`
 * - `ready`: takes calls
 * - `draining`: the server finishes its calls and takes no more
 * - `waiting`: until the next attempt to connect
 * - `gone`: the server is no longer listed
 */
export type EndpointState = 'connecting' | 'ready' | 'draining' | 'waiting' | 'gone';

const DIAL = 0;
const OPENED = 1;
const REFUSED = 2;
const CONNECT_TIMEOUT = 3;
const LOST = 4;
const CLOSED = 5;
const DRAIN = 6;
const PING = 7;
const PONG = 8;
const KINDS = 16;

/** Time to connect, over all of it. */
const CONNECT_TIMEOUT_US = 5_000_000;

/** A server as one client sees it: one connection, which comes back, and what is known about it. */
export class SimEndpoint implements Candidate, EventHandler, Pinged, Searched {
  readonly address: string;
  readonly traffic = new Traffic();
  state: EndpointState = 'waiting';
  isSoon = false;
  /** A ping is not answered as fast as it should be. */
  isSuspect = false;
  /** The server owes it a report. */
  isUser = false;
  /** The connection, or the attempt to have one: events of an earlier one count no more. */
  connection = 0;
  #keepAlive: SimKeepAlive | undefined;
  #backoff: Backoff | undefined;
  /** The process that it was connected to last. */
  #process = 0;

  constructor(
    readonly client: SimClient,
    readonly server: SimServer,
    readonly weight: number,
  ) {
    this.address = server.address;
  }

  // --- the connection -----------------------------------------------------------------------------------------

  /** The connection is there before the simulation begins. */
  openAtOnce(): void {
    this.connection += 1;
    this.#open();
  }

  connect(): void {
    this.connection += 1;
    this.state = 'connecting';
    this.#after(NETWORK.connectUs / 2, DIAL);
    this.#after(CONNECT_TIMEOUT_US, CONNECT_TIMEOUT);
  }

  /** The server is no longer listed. Calls in flight may end. */
  leave(): void {
    this.state = 'gone';
    if (this.traffic.inFlight === 0) this.#close();
  }

  #close(): void {
    this.#keepAlive?.stop();
    this.server.disconnected(this);
    this.connection += 1;
  }

  onEvent(argument: number): void {
    const kind = argument % KINDS;
    // it belongs to an earlier connection
    if ((argument - kind) / KINDS !== this.connection) return;
    if (kind === DIAL) this.#dial();
    else if (kind === OPENED) this.#opened();
    else if (kind === REFUSED) this.#lost();
    else if (kind === CONNECT_TIMEOUT && this.state === 'connecting') this.#lost();
    else if (kind === LOST) this.#lost();
    else if (kind === CLOSED) this.#lost(true);
    else if (kind === DRAIN) this.#drains();
    else if (kind === PING) this.server.pinged(this, this.connection);
    else if (kind === PONG) this.#keepAlive?.ponged();
  }

  #after(us: number, kind: number): void {
    const { time } = this.client.fleet;
    time.at(time.nowUs + us, this, this.connection * KINDS + kind);
  }

  #dial(): void {
    if (this.state === 'waiting') this.connect();
    else this.server.connect(this, this.connection);
  }

  #opened(): void {
    // it may have died since it answered
    if (this.server.state !== 'up') return this.#lost();
    this.#open();
    this.client.onReady();
  }

  #open(): void {
    const { time, random } = this.client.fleet;
    this.state = 'ready';
    this.isSoon = false;
    this.#backoff?.opened();
    this.#keepAlive = new SimKeepAlive(this, time, random.next);
    // another process has taken the address
    if (this.#process !== this.server.process) this.traffic.joined(time.now());
    this.#process = this.server.process;
    this.server.connected(this);
  }

  #drains(): void {
    if (this.state !== 'ready') return;
    this.state = 'draining';
    this.client.onGone(this);
  }

  #lost(isOrderly = false): void {
    const { connection, state, client } = this;
    this.#close();
    this.isSuspect = false;
    if (state !== 'gone') {
      this.state = 'waiting';
      this.#dialIn(this.#backoffOf().nextDelayMs({ isOrderly, ...client.patienceFor(this) }));
    }
    if (state === 'ready') client.onGone(this);
    client.onLost(this, connection);
  }

  get isWaiting(): boolean {
    return this.state === 'waiting';
  }

  hurry(): void {
    this.isSoon = true;
    this.connection += 1;
    this.#dialIn(this.#backoffOf().soonMs());
  }

  #dialIn(ms: number): void {
    this.#after(Math.round(ms * 1_000), DIAL);
  }

  #backoffOf(): Backoff {
    const { time, random } = this.client.fleet;
    return (this.#backoff ??= new Backoff(DEFAULT_RECONNECT, () => time.now(), random.next));
  }

  // --- told by the server -------------------------------------------------------------------------------------

  /** It answers. */
  reached(connection: number): void {
    if (connection === this.connection) this.#after(NETWORK.connectUs / 2, OPENED);
  }

  /** Nobody listens. */
  unreachable(connection: number): void {
    if (connection === this.connection) this.#after(NETWORK.oneWayUs, REFUSED);
  }

  /** The connection is reset. */
  reset(): void {
    this.#after(NETWORK.oneWayUs, LOST);
  }

  /** The connection is closed in order. */
  closed(): void {
    this.#after(NETWORK.oneWayUs, CLOSED);
  }

  toldOfDrain(): void {
    this.#after(NETWORK.oneWayUs, DRAIN);
  }

  ponged(connection: number): void {
    if (connection === this.connection) this.#after(NETWORK.oneWayUs, PONG);
  }

  /** It has said its load. */
  told(report: LoadReport, now: number): void {
    if (this.state !== 'ready') return;
    this.#keepAlive?.heard();
    this.traffic.reported(report, now);
  }

  /** An answer came back. */
  answered(attempt: Attempt, outcome: Outcome): void {
    if (attempt.connection !== this.connection) return;
    this.#keepAlive?.heard();
    if (!attempt.isOver) this.client.settled(attempt, outcome);
    if (this.state === 'gone' && this.traffic.inFlight === 0) this.#close();
  }

  // --- calls and pings ----------------------------------------------------------------------------------------

  send(attempt: Attempt): void {
    this.traffic.begin(attempt.startedAt);
    this.#keepAlive?.used();
    attempt.send(NETWORK.oneWayUs);
  }

  sendPing(): void {
    this.#after(NETWORK.oneWayUs, PING);
  }

  suspected(isSuspect: boolean): void {
    this.isSuspect = isSuspect;
    this.client.onSuspect();
  }

  silent(): void {
    this.#lost();
  }
}
