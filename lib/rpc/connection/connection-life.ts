import type { Clock, Timer } from '../../protocol/clock.js';
import { CloseReason, EventTarget } from '../../protocol/event.js';
import { Fault } from '../../protocol/fault.js';
import { CRYPTO_ERROR } from '../../protocol/frame-seal.js';
import type { Link } from '../../protocol/link.js';
import { Status } from '../../protocol/status.js';
import { connectionLost } from './connection-lost.js';
import type { Opening } from './opening.js';
import type { PingSink } from './pings.js';

/** Drain time of a connection whose keys are used up: the keys last for as much again. */
const RETIRE_GRACE_MS = 24 * 3_600_000;

/** Time for an idle client to answer the ping that follows the shutdown event. */
const FLUSH_TIMEOUT_MS = 1000;

/** If the timer fires this late, this process was stalled and has not polled its sockets: the timeout proves nothing. */
const MAX_TIMER_LAG_MS = FLUSH_TIMEOUT_MS / 4;

/**
 * The state of a connection.
 *
 * - `opening`: until DECLARE is answered; the timer is its timeout
 * - `open`: calls in flight
 * - `draining`: nothing new is started, calls in flight finish. `flushed`: every call sent before the shutdown event has
 *   arrived
 * - `closed`: everything pending has failed with the reason
 *
 * Next state for each event:
 *
 * |            | opened | drain            | finish   | shutdown | idle               | close, abort, error |
 * | ---------- | ------ | ---------------- | -------- | -------- | ------------------ | ------------------- |
 * | `opening`  | open   | closed           | closed   | ignored  | ignored            | closed              |
 * | `open`     | -      | draining         | draining | draining | ignored            | closed              |
 * | `draining` | -      | earlier deadline | ignored  | ignored  | closed, if flushed | closed              |
 * | `closed`   | -      | ignored          | ignored  | ignored  | ignored            | ignored             |
 */
type State =
  | { readonly name: 'opening'; readonly timer: Timer }
  | { readonly name: 'open' }
  | Draining
  | { readonly name: 'closed'; readonly reason: Fault };

interface Draining {
  readonly name: 'draining';
  timer: Timer | undefined;
  until: number;
  flushed: boolean;
  /** The client answered the ping, so it also closes once it has read everything. */
  isAcknowledged?: boolean;
  flushTimer?: Timer;
}

export type LifeState = State['name'];

/** What {@link ConnectionLife} needs from the rest of the connection. */
export interface LifeHost {
  /** Whether no call or channel of either side is in flight or queued. */
  isIdle(): boolean;
  /** A client finishes: refuses new calls; queued ones are still sent. */
  refuseCalls?(reason: Fault): void;
  /** The server drains: unsent calls move to another connection. */
  moveUnsentCalls?(reason: Fault): void;
  sendEvent(target: string, body: unknown): void;
  /** A server sends CLOSE as its last frame. `isOrderly`: not caused by a frame of the client. */
  sendClose?(reason: string, isOrderly: boolean): void;
  measurePing(sink: PingSink): void;
  /** Fails everything pending. `lastTaken`: the last id that the server accepted, if it reported one. */
  failAll(reason: Fault, lastTaken?: number): void;
}

export interface LifeOptions {
  readonly isServer: boolean;
  readonly clock: Clock;
  readonly link: Link;
  readonly opening: Opening;
  /** Timeout of DECLARE. */
  readonly openMs: number;
  readonly host: LifeHost;
}

/** The lifecycle of one connection. It is closed exactly once. */
export class ConnectionLife {
  #state: State;

  constructor(private readonly options: LifeOptions) {
    const timer = options.clock.after(options.openMs, () => this.#openTimeout());
    this.#state = { name: 'opening', timer };
  }

  get state(): LifeState {
    return this.#state.name;
  }

  /** Why it is closed; `undefined` if it is not. */
  get reason(): Fault | undefined {
    return this.#state.name === 'closed' ? this.#state.reason : undefined;
  }

  /** Whether a client has confirmed that it read the shutdown event, and all that it sent before that has arrived. */
  get isAcknowledged(): boolean {
    return this.#state.name === 'draining' && this.#state.isAcknowledged === true;
  }

  opened(): void {
    if (this.#state.name === 'opening') this.#state.timer.cancel();
    this.#state = { name: 'open' };
  }

  /**
   * Drains a server's connection: tells the client to start nothing new, finishes calls in flight, then closes. Calls still
   * in flight after `graceMs` are aborted.
   */
  drain(graceMs: number): void {
    const { clock, host } = this.options;
    if (this.#state.name === 'opening') return this.close(CloseReason.Shutdown);
    if (this.#state.name === 'closed') return;
    const until = clock.now() + graceMs;
    // only an earlier deadline counts: retiring a connection allows more time than stopping the server
    if (this.#state.name === 'draining' && this.#state.until <= until) return;
    const timer = clock.after(graceMs, () => this.close(CloseReason.Shutdown));
    if (this.#state.name === 'draining') {
      this.#state.timer?.cancel();
      Object.assign(this.#state, { timer, until });
      return;
    }
    const state: Draining = { name: 'draining', timer, until, flushed: false };
    const flushed = (): void => {
      state.flushTimer?.cancel();
      state.flushed = true;
      this.closeIfDrained();
    };
    this.#state = state;
    this.#limitFlush(state, flushed);
    host.sendEvent(EventTarget.Shutdown, { close_timeout: Math.ceil(graceMs / 1000) });
    // frames are ordered: the answer to this ping follows every call sent before the client saw the shutdown event
    host.measurePing({
      resolve: () => {
        state.isAcknowledged = true;
        flushed();
      },
      reject: () => {},
    });
  }

  /**
   * A client that does not answer the ping loses nothing: CLOSE reports the last id that was accepted. The timeout counts
   * only if the ping has left and this side reads; otherwise requests may still be unread here.
   */
  #limitFlush(state: Draining, flushed: () => void): void {
    const { clock, link } = this.options;
    const dueAt = clock.now() + FLUSH_TIMEOUT_MS;
    state.flushTimer = clock.after(FLUSH_TIMEOUT_MS, () => {
      const isLate = clock.now() - dueAt >= MAX_TIMER_LAG_MS;
      if (isLate || link.pendingBytes > 0 || link.isBehind) this.#limitFlush(state, flushed);
      else flushed();
    });
  }

  /** Drains a client's connection: starts nothing new and closes when nothing is in flight. */
  finish(): void {
    if (this.#state.name === 'opening') return this.close('the client was closed');
    if (this.#state.name !== 'open') return;
    this.#state = { name: 'draining', timer: undefined, until: Infinity, flushed: true };
    this.options.host.refuseCalls?.(connectionLost('the client ends this connection', undefined, 'no'));
    this.closeIfDrained();
  }

  /** Drains a connection whose keys are used up; another replaces it. */
  retire(): void {
    if (this.options.isServer) this.drain(RETIRE_GRACE_MS);
    else this.onShutdown('the keys of this connection are used up');
  }

  /** The server announced that it drains. */
  onShutdown(why = 'the server shuts down'): void {
    if (this.#state.name !== 'open') return;
    this.#state = { name: 'draining', timer: undefined, until: Infinity, flushed: true };
    this.options.host.moveUnsentCalls?.(connectionLost(why, undefined, 'no'));
    this.closeIfDrained();
  }

  /** Call after the end of each call or channel. */
  closeIfDrained(): void {
    const state = this.#state;
    if (state.name !== 'draining' || !state.flushed) return;
    if (this.options.host.isIdle()) this.close(CloseReason.Shutdown);
  }

  /**
   * Closes the connection after flushing what was sent: a server sends CLOSE, then everything pending fails.
   * `isAwaited`: the peer still has something to read and to answer.
   */
  close(reason: string, isAwaited = false): void {
    if (this.#state.name === 'closed') return;
    const { isAcknowledged } = this;
    this.#sendClose(reason, true);
    this.#fail(connectionLost(`the connection was closed: ${reason}`));
    this.options.link.end(isAwaited || isAcknowledged);
  }

  /** Destroys the link at once and fails everything pending with the same reason. Idempotent. */
  abort(reason: Fault, lastTaken?: number): void {
    if (this.#state.name === 'closed') return;
    this.#fail(reason, lastTaken);
    this.options.link.destroy();
  }

  /** The peer violated the protocol. */
  protocolError(message: string, cause?: Fault): void {
    if (this.#state.name === 'closed') return;
    this.#sendClose(message);
    this.#fail(cause ?? new Fault({ status: Status.Protocol, message }));
    this.options.link.end();
  }

  /** Once the wire is sealed, the sender is unauthenticated, so it gets no explanation. */
  cryptoError(fault: Fault): void {
    const { opening, link } = this.options;
    if (this.#state.name === 'closed') return;
    const reason = opening.failed(fault);
    if (opening.isSealed) return this.abort(reason);
    this.#sendClose(CRYPTO_ERROR);
    this.#fail(reason);
    link.end();
  }

  /** The link was lost. */
  lost(error: Error | undefined): void {
    const { isServer, opening } = this.options;
    if (this.#state.name === 'closed') return;
    const unproven = opening.unproven();
    if (unproven) return this.abort(unproven);
    if (!isServer && this.#state.name === 'opening')
      return this.abort(connectionLost(error?.message ?? 'the server did not answer', error));
    const message = isServer ? 'the client is gone' : 'the connection to the server was lost';
    this.abort(connectionLost(error ? `${message}: ${error.message}` : message, error));
  }

  #openTimeout(): void {
    const { isServer, opening } = this.options;
    const unproven = opening.unproven();
    if (unproven) return this.abort(unproven);
    const message = isServer ? 'no DECLARE in time' : 'the server did not answer DECLARE in time';
    this.abort(connectionLost(message));
  }

  #sendClose(reason: string, isOrderly = false): void {
    this.options.host.sendClose?.(reason, isOrderly);
  }

  #fail(reason: Fault, lastTaken?: number): void {
    const before = this.#state;
    this.#state = { name: 'closed', reason };
    if (before.name === 'opening' || before.name === 'draining') before.timer?.cancel();
    if (before.name === 'draining') before.flushTimer?.cancel();
    this.options.host.failAll(reason, lastTaken);
  }
}
