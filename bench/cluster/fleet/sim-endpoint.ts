import { Backoff, DEFAULT_RECONNECT } from '../../../lib/cluster/backoff.js';
import type { Candidate } from '../../../lib/cluster/balancing/balancer.js';
import { Traffic } from '../../../lib/cluster/balancing/traffic.js';
import type { LoadReport } from '../../../lib/rpc/connection/load-report.js';
import type { EventHandler } from '../time/virtual-time.js';
import type { Attempt, AttemptOutcome } from './attempt.js';
import { NETWORK } from './network.js';
import type { SimClient } from './sim-client.js';
import type { SimServer } from './sim-server.js';

/**
 * - `idle`: no connection, and nobody wants one
 * - `connecting`
 * - `ready`: takes calls
 * - `waiting`: until the next attempt to connect
 * - `draining`: the server finishes its calls and takes no more
 */
export type EndpointState = 'idle' | 'connecting' | 'ready' | 'waiting' | 'draining';

const DIAL = 0;
const OPENED = 1;
const REFUSED = 2;
const CONNECT_TIMEOUT = 3;
const LOST = 4;
const CLOSED = 5;
const DRAIN = 6;
const EVENTS = 8;

/** Time to connect, over all of it. */
const CONNECT_TIMEOUT_US = 5_000_000;

/** A server as one client sees it: one connection, which comes back, and what is known about it. */
export class SimEndpoint implements Candidate, EventHandler {
  readonly address: string;
  readonly weight: number;
  readonly traffic = new Traffic();
  state: EndpointState = 'idle';
  /** The connection, or the attempt to have one: events of an earlier one count no more. */
  connection = 0;
  /** The server owes it a report. */
  isUser = false;
  #backoff: Backoff | undefined;

  constructor(
    readonly client: SimClient,
    readonly server: SimServer,
    weight = 1,
  ) {
    this.address = server.address;
    this.weight = weight;
  }

  // --- connecting ---------------------------------------------------------------------------------------------

  /** The connection is there before the simulation begins. */
  openAtOnce(): void {
    this.connection += 1;
    this.state = 'connecting';
    this.#opened();
  }

  connect(): void {
    this.connection += 1;
    this.state = 'connecting';
    this.#after(NETWORK.connectUs / 2, DIAL);
    this.#after(CONNECT_TIMEOUT_US, CONNECT_TIMEOUT);
  }

  /** Told by the server: it answers. */
  reached(connection: number): void {
    if (connection === this.connection) this.#after(NETWORK.connectUs / 2, OPENED);
  }

  /** Told by the server: nobody listens. */
  unreachable(connection: number): void {
    if (connection === this.connection) this.#after(NETWORK.oneWayUs, REFUSED);
  }

  /** Told by the server: the connection ends, in a while. */
  reset(delayUs: number, why: 'lost' | 'closed'): void {
    this.#after(delayUs, why === 'lost' ? LOST : CLOSED);
  }

  toldOfDrain(delayUs: number): void {
    this.#after(delayUs, DRAIN);
  }

  #after(us: number, kind: number): void {
    const { time } = this.client.fleet;
    time.at(time.nowUs + us, this, this.connection * EVENTS + kind);
  }

  onEvent(argument: number): void {
    const kind = argument % EVENTS;
    if ((argument - kind) / EVENTS !== this.connection) return;
    if (kind === DIAL) {
      if (this.state === 'connecting') this.server.connect(this, this.connection);
      else if (this.state === 'waiting') this.connect();
    } else if (kind === OPENED) this.#opened();
    else if (kind === REFUSED) this.#lost();
    else if (kind === CONNECT_TIMEOUT && this.state === 'connecting') this.#lost();
    else if (kind === LOST) this.#lost();
    else if (kind === CLOSED) this.#lost();
    else if (kind === DRAIN) this.#drains();
  }

  #opened(): void {
    // it may have gone since it answered
    if (this.server.state !== 'up') return;
    this.state = 'ready';
    this.#backoff?.opened();
    this.server.connected(this);
    this.client.onReady(this);
  }

  #drains(): void {
    if (this.state !== 'ready') return;
    this.state = 'draining';
    this.client.onGone(this);
  }

  #lost(): void {
    const { connection, state, client } = this;
    this.server.disconnected(this);
    this.state = 'waiting';
    this.connection += 1;
    const { time, random } = client.fleet;
    this.#backoff ??= new Backoff(DEFAULT_RECONNECT, () => time.now(), random.next);
    this.#after(Math.round(this.#backoff.nextDelayMs() * 1_000), DIAL);
    if (state === 'ready') client.onGone(this);
    client.onLost(this, connection);
  }

  /** The answer to a ping came back. */
  ponged(_connection: number): void {}

  /** The server has said its load. */
  told(report: LoadReport, now: number): void {
    if (this.state === 'ready') this.traffic.reported(report, now);
  }

  // --- calls --------------------------------------------------------------------------------------------------

  /** An answer came back. */
  answered(attempt: Attempt, outcome: AttemptOutcome): void {
    if (attempt.connection !== this.connection || attempt.isOver) return;
    this.client.settled(attempt, outcome);
  }
}
