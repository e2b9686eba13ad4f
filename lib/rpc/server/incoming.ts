import { Extension } from '../../protocol/extension.js';
import { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { DRAINING_CODE, Status } from '../../protocol/status.js';
import { type DeadlineQueue, Expiring } from '../time/deadline-queue.js';
import { allowManyListeners } from '../context/listeners.js';
import type { ConnectionHandle } from '../connection/connection-info.js';
import { ScopedSignal } from '../context/scoped-signal.js';
import type { Hosted, IncomingHost } from './incoming-host.js';
import type { Session } from './sessions.js';

/**
 * A cancel this close to the caller's deadline is not a rapid reset: calls that were queued arrive with little time left, and
 * many of them time out.
 */
const DEADLINE_SLACK_MS = 100;

/** Observes an incoming call or channel. */
export interface IncomingObserver {
  /** It has failed, or was given up: the first reason counts. */
  failed(failure: Fault): void;
  /** It has its outcome. Must not throw. */
  over(): void;
}

/**
 * A call or channel that the peer started. It settles once, when the peer gets nothing more of it; its slot is free only
 * when the handler has `ended`, so that a peer that cancels cannot exceed its limit of concurrent work.
 */
export abstract class Incoming extends Expiring implements Hosted {
  abstract readonly kind: 'call' | 'channel';
  /** Called once when it settles: answered, timed out, cancelled or disconnected. */
  onSettled: (() => void) | undefined;
  /** Told of its outcome, once. */
  observer: IncomingObserver | undefined;
  /** Its session, or why it could not join it. */
  session: Session | Fault | undefined;
  /** An event that was confirmed: its sender waits for the end of its handler. */
  isTaken = false;
  /** Whether its time limit has started: only once, and before processors. */
  hasLimit = false;
  /** Cost of its first message: see `Account`. */
  cost = 0;
  /** What the handler adds to the header of its answer. */
  replyHeader: Record<string, unknown> | null = null;
  /** Time of arrival, in milliseconds of the clock. */
  readonly startedAt: number;

  #settled = false;
  #ended = false;
  #signal: ScopedSignal | undefined;
  #draining: ScopedSignal | undefined;
  #reason: Fault | undefined;

  constructor(
    protected readonly host: IncomingHost,
    readonly id: number,
    public header: Header,
  ) {
    super();
    this.startedAt = host.frameAt;
  }

  get connection(): ConnectionHandle {
    return this.host.connection;
  }

  get deadlines(): DeadlineQueue {
    return this.host.deadlines;
  }

  get settled(): boolean {
    return this.#settled;
  }

  /** Whether its handler has ended, and its slot is free. */
  get isOver(): boolean {
    return this.#ended;
  }

  /** Aborted when nobody waits for it any more. Created on first use. */
  get signal(): AbortSignal {
    if (!this.#signal) {
      this.#signal = new ScopedSignal();
      // each call of the handler adds a listener
      allowManyListeners(this.#signal.signal);
      if (this.#reason) this.#signal.abort(this.#reason);
    }
    return this.#signal.signal;
  }

  /** Aborted when the server begins to drain. Created on first use. */
  get draining(): AbortSignal {
    if (!this.#draining) {
      this.#draining = new ScopedSignal();
      allowManyListeners(this.#draining.signal);
      if (this.host.isDraining) this.drain();
    }
    return this.#draining.signal;
  }

  /** The server drains: aborts `draining` if the handler uses it. */
  drain(): void {
    this.#draining?.abort(new Fault({ status: Status.Server, message: 'the server shuts down' }));
  }

  /** Limits the handler to `ms` from now. */
  limitRun(ms: number): void {
    this.host.deadlines.add(this, ms);
  }

  /** Limits the handler to `ms` from its arrival. */
  limitFromArrival(ms: number): void {
    this.host.deadlines.add(this, ms, this.startedAt);
  }

  /** Removes the time limit. */
  unlimit(): void {
    this.host.deadlines.remove(this);
  }

  /** Time that the handler has left; `undefined` if it is not limited. */
  get timeLeftMs(): number | undefined {
    return this.host.deadlines.timeLeftMs(this);
  }

  /** Nobody waits any more: aborts the handler's signal; nothing is sent. */
  abort(reason: Fault): void {
    if (this.settle(reason, this.isWasted)) this.cancel(reason);
  }

  /** The handler has ended: frees the slot. */
  ended(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.settle();
    if (this.observer) this.#tellOutcome(this.observer);
    this.host.ended(this);
  }

  /** Joins its session on arrival: a session that the client closes before the handler begins must not be created again. */
  joinSession(): void {
    const { session_id: id } = this.header;
    if (id === undefined) return;
    try {
      this.session = this.host.sessions.get(id);
    } catch (error) {
      this.session = error as Fault;
    }
  }

  /** Applies the changes of processors or middleware to its header; `undefined`: unchanged. */
  protected acceptHeader(header: Header | undefined): void {
    if (!header) return;
    const { session_id: before } = this.header;
    this.header = header;
    if (this.header.session_id === before) return;
    this.session = undefined;
    this.joinSession();
  }

  /** Adds to the header of the answer. */
  setHeader(key: string, value: unknown): void {
    this.replyHeader ??= {};
    this.replyHeader[key] = value;
  }

  /** Fails it with an error for the peer; `name` is the error class on the wire. */
  abstract fail(fault: Fault, name: string): void;

  /** Why it was cancelled; `undefined` if it was not. */
  protected get reason(): Fault | undefined {
    return this.#reason;
  }

  protected cancel(reason: Fault): void {
    this.#reason ??= reason;
    this.#signal?.abort(reason);
  }

  /** Whether a cancel now counts as wasted work: nothing was sent, and the deadline is not close. */
  protected get isWasted(): boolean {
    const { timeout_ms: told } = this.header;
    if (typeof told !== 'number' || !this.connection.has(Extension.Deadline)) return true;
    return this.startedAt + told - this.host.clock.now() > DEADLINE_SLACK_MS;
  }

  /** Settles; false if it has before. `failure`: why it failed. `wasted`: cancelled by the peer before it got anything. */
  protected settle(failure?: Fault, wasted = false): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    if (failure) this.observer?.failed(failure);
    this.host.deadlines.remove(this);
    this.host.settled(this, wasted);
    try {
      this.onSettled?.();
    } catch {
      // the listener reports its own failures; the rest of the cleanup must still run
    }
    // an answer may fail on its way out: until its handler has ended, success is not certain
    if (failure && this.observer) this.#tellOutcome(this.observer);
    return true;
  }

  #tellOutcome(observer: IncomingObserver): void {
    this.observer = undefined;
    observer.over();
  }
}

/** The abort reason of a handler whose caller cancelled or disconnected. */
export const CANCELLED_BY_CALLER = 'the caller cancelled';

/** Refused by a limit; nothing was executed. */
export function tooMany(message: string): Fault {
  return new Fault({ status: Status.TooManyRequests, message, refused: true });
}

/** Refused since the server shuts down; nothing was executed. */
export function shutsDown(): Fault {
  const message = 'the server shuts down';
  return new Fault({ status: Status.TooManyRequests, code: DRAINING_CODE, message, refused: true });
}
