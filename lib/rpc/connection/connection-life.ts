import type { Clock, Timer } from '../../protocol/clock.js';
import { CloseReason, EventTarget } from '../../protocol/event.js';
import { Fault } from '../../protocol/fault.js';
import { CRYPTO_ERROR } from '../../protocol/frame-seal.js';
import type { Link } from '../../protocol/link.js';
import { Status } from '../../protocol/status.js';
import { connectionLost } from './connection-lost.js';
import type { Opening } from './opening.js';
import type { PingSink } from './pings.js';

/** What runs on a connection whose keys are used up may take this long: the keys last for as much again. */
const RETIRE_GRACE_MS = 24 * 3_600_000;

/** Time for a client to say that it has heard of the shutdown, if nothing runs. */
const FLUSH_PATIENCE_MS = 1000;

/** A look that comes so late says nothing of the client: this process stood still, and has not looked at its sockets. */
const LATE_MS = FLUSH_PATIENCE_MS / 4;

/**
 * Where a connection stands.
 *
 * - `opening`: DECLARE is not done; the timer ends the wait
 * - `open`: calls come and go
 * - `draining`: the server said shutdown: nothing new is started, what runs is finished. `flushed` says that all calls
 *   from before are known
 * - `closed`: over; everything pending has failed with the reason
 *
 * What happens in each, and what becomes of it:
 *
 * |            | opened | drain                  | finish   | shutdown | all has ended      | close, abort, error |
 * | ---------- | ------ | ---------------------- | -------- | -------- | ------------------ | ------------------- |
 * | `opening`  | open   | closed                 | closed   | nothing  | nothing            | closed              |
 * | `open`     | -      | draining               | draining | draining | nothing            | closed              |
 * | `draining` | -      | sooner, if it is so    | nothing  | nothing  | closed, if flushed | closed              |
 * | `closed`   | -      | nothing                | nothing  | nothing  | nothing            | nothing             |
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
  /** The client has answered, and so ends the connection, too, when it has read all. */
  isHeard?: boolean;
  flush?: Timer;
}

export type LifeState = State['name'];

/** What the end of a connection asks of the rest of it. */
export interface LifeHost {
  /** Whether no call and no channel is left, of either side. */
  isIdle(): boolean;
  /** A client ends it: nothing new is started, what waits is still sent. */
  refuseCalls(reason: Fault): void;
  /** The server drains: calls that were not sent go elsewhere. */
  surrenderCalls(reason: Fault): void;
  sendEvent(target: string, body: unknown): void;
  /** A server says CLOSE, and why: its last word. `isOrderly`: no frame of the client is the cause. */
  farewell(reason: string, isOrderly: boolean): void;
  measurePing(sink: PingSink): void;
  /** It is over: everything pending fails with the reason. `lastTaken`: the last id that the server took, if it told it. */
  failAll(reason: Fault, lastTaken?: number): void;
}

export interface LifeOptions {
  readonly isServer: boolean;
  readonly clock: Clock;
  readonly link: Link;
  readonly opening: Opening;
  /** Time for DECLARE. */
  readonly openMs: number;
  readonly host: LifeHost;
}

/** The life of one connection, from its opening to its one end. */
export class PeerLife {
  #state: State;

  constructor(private readonly options: LifeOptions) {
    const timer = options.clock.after(options.openMs, () => this.#openTimeout());
    this.#state = { name: 'opening', timer };
  }

  get state(): LifeState {
    return this.#state.name;
  }

  /** Why it is over, where it is. */
  get reason(): Fault | undefined {
    return this.#state.name === 'closed' ? this.#state.reason : undefined;
  }

  /** DECLARE is done. */
  opened(): void {
    if (this.#state.name === 'opening') this.#state.timer.cancel();
    this.#state = { name: 'open' };
  }

  /**
   * A server's orderly end: tells the client to start nothing new, finishes what runs, then closes. What still runs
   * after `graceMs` is aborted.
   */
  drain(graceMs: number): void {
    const { clock, host } = this.options;
    if (this.#state.name === 'opening') return this.close(CloseReason.Shutdown);
    if (this.#state.name === 'closed') return;
    const until = clock.now() + graceMs;
    // one that makes room for another has more time than a server that stops
    if (this.#state.name === 'draining' && this.#state.until <= until) return;
    const timer = clock.after(graceMs, () => this.close(CloseReason.Shutdown));
    if (this.#state.name === 'draining') {
      this.#state.timer?.cancel();
      Object.assign(this.#state, { timer, until });
      return;
    }
    const state: Draining = { name: 'draining', timer, until, flushed: false };
    const flushed = (): void => {
      state.flush?.cancel();
      state.flushed = true;
      this.closeIfDrained();
    };
    this.#state = state;
    this.#limitFlush(state, flushed);
    host.sendEvent(EventTarget.Shutdown, { close_timeout: Math.ceil(graceMs / 1000) });
    // frames keep their order: with the answer to this ping, every call from before the shutdown event is here
    host.measurePing({
      resolve: () => {
        state.isHeard = true;
        flushed();
      },
      reject: () => {},
    });
  }

  /**
   * A client that does not answer has nothing under way that it could not be told of: CLOSE says what was taken. Its time
   * counts only while the ping has left and this side reads: before, its requests may lie here.
   */
  #limitFlush(state: Draining, flushed: () => void): void {
    const { clock, link } = this.options;
    const dueAt = clock.now() + FLUSH_PATIENCE_MS;
    state.flush = clock.after(FLUSH_PATIENCE_MS, () => {
      const isLate = clock.now() - dueAt >= LATE_MS;
      if (isLate || link.pendingBytes > 0 || link.isBehind) this.#limitFlush(state, flushed);
      else flushed();
    });
  }

  /** A client's orderly end: starts nothing new and closes when what runs is over. */
  finish(): void {
    if (this.#state.name === 'opening') return this.close('the client was closed');
    if (this.#state.name !== 'open') return;
    this.#state = { name: 'draining', timer: undefined, until: Infinity, flushed: true };
    this.options.host.refuseCalls(connectionLost('the client ends this connection', undefined, 'no'));
    this.closeIfDrained();
  }

  /** Ends a connection whose keys are used up, without harm to what runs: another takes its place. */
  retire(): void {
    if (this.options.isServer) this.drain(RETIRE_GRACE_MS);
    else this.onShutdown('the keys of this connection are used up');
  }

  /** The server said that it drains. */
  onShutdown(why = 'the server shuts down'): void {
    if (this.#state.name !== 'open') return;
    this.#state = { name: 'draining', timer: undefined, until: Infinity, flushed: true };
    this.options.host.surrenderCalls(connectionLost(why, undefined, 'no'));
    this.closeIfDrained();
  }

  /** A call or channel is over, which may have been the last. */
  closeIfDrained(): void {
    const state = this.#state;
    if (state.name !== 'draining' || !state.flushed) return;
    if (this.options.host.isIdle()) this.close(CloseReason.Shutdown);
  }

  /**
   * Closes the connection after what was sent so far: a server says CLOSE and why, then everything pending fails.
   * `isAwaited`: the peer still has something to read, and to answer.
   */
  close(reason: string, isAwaited = false): void {
    if (this.#state.name === 'closed') return;
    const isHeard = this.#state.name === 'draining' && this.#state.isHeard;
    this.#farewell(reason, true);
    this.#fail(connectionLost(`the connection was closed: ${reason}`));
    this.options.link.end(isAwaited || isHeard);
  }

  /** Ends the connection at once and fails everything pending with the same reason. May be called twice. */
  abort(reason: Fault, lastTaken?: number): void {
    if (this.#state.name === 'closed') return;
    this.#fail(reason, lastTaken);
    this.options.link.destroy();
  }

  /** Ends the connection because the other side broke the wire's rules. */
  protocolError(message: string, cause?: Fault): void {
    if (this.#state.name === 'closed') return;
    this.#farewell(message);
    this.#fail(cause ?? new Fault({ status: Status.Protocol, message }));
    this.options.link.end();
  }

  /** Where the wire is sealed, the other side may be anybody: it gets no word. */
  cryptoError(fault: Fault): void {
    const { opening, link } = this.options;
    if (this.#state.name === 'closed') return;
    const reason = opening.failed(fault);
    if (opening.isSealed) return this.abort(reason);
    this.#farewell(CRYPTO_ERROR);
    this.#fail(reason);
    link.end();
  }

  /** The link is gone. */
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

  #farewell(reason: string, isOrderly = false): void {
    this.options.host.farewell(reason, isOrderly);
  }

  #fail(reason: Fault, lastTaken?: number): void {
    const before = this.#state;
    this.#state = { name: 'closed', reason };
    if (before.name === 'opening' || before.name === 'draining') before.timer?.cancel();
    if (before.name === 'draining') before.flush?.cancel();
    this.options.host.failAll(reason, lastTaken);
  }
}
