import { Extension } from '../../protocol/extension.js';
import { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { Status } from '../../protocol/status.js';
import { type DeadlineQueue, Expiring } from '../time/deadline-queue.js';
import { allowManyListeners } from '../context/listeners.js';
import type { ConnectionHandle } from '../connection/connection-info.js';
import { ScopedSignal } from '../context/scoped-signal.js';
import type { Hosted, IncomingHost } from './incoming-host.js';
import type { Session } from './sessions.js';

/**
 * What has so little of its caller's time left is not given up too soon: calls that waited for a slot come with the rest of
 * their time, and many of them end with it.
 */
const NEARLY_OVER_MS = 100;

/**
 * Something that the peer started and a handler works on: a call or a channel. It settles once, when the peer will get
 * no more of it; its slot is free only when the handler has `ended`, however early that was settled: a peer that
 * cancels does not get more work done than its limit.
 */
export abstract class Incoming extends Expiring implements Hosted {
  abstract readonly kind: 'call' | 'channel';
  /** Called once when it settles: answered, timed out, cancelled, connection gone. */
  onSettled: (() => void) | undefined;
  /** The session that it belongs to, or why it has none that it should have. */
  session: Session | Fault | undefined;
  /** An event whose sender knows that it was taken, and waits to hear of its end. */
  isTaken = false;
  /** Its time has begun: once, and for what processors work on first, before them. */
  hasLimit = false;
  /** What its first message costs to keep: see `Account`. */
  cost = 0;
  /** When it came, in milliseconds of the clock. */
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

  /** The connection that it came over. */
  get connection(): ConnectionHandle {
    return this.host.connection;
  }

  /** Timeouts of its connection. */
  get deadlines(): DeadlineQueue {
    return this.host.deadlines;
  }

  /** Whether the peer gets nothing more of it. */
  get settled(): boolean {
    return this.#settled;
  }

  /** Aborted when nobody waits for it any more. Made on first use. */
  get signal(): AbortSignal {
    if (!this.#signal) {
      this.#signal = new ScopedSignal();
      // every call that the handler makes listens
      allowManyListeners(this.#signal.signal);
      if (this.#reason) this.#signal.abort(this.#reason);
    }
    return this.#signal.signal;
  }

  /** Aborted when the server begins to drain. Made on first use. */
  get draining(): AbortSignal {
    if (!this.#draining) {
      this.#draining = new ScopedSignal();
      allowManyListeners(this.#draining.signal);
      if (this.host.isDraining) this.drain();
    }
    return this.#draining.signal;
  }

  /** The server drains: a handler that has asked for it is told. */
  drain(): void {
    this.#draining?.abort(new Fault({ status: Status.Server, message: 'the server shuts down' }));
  }

  /** Gives the handler `ms` from now on. */
  limitRun(ms: number): void {
    this.host.deadlines.add(this, ms);
  }

  /** Gives the handler `ms` from its arrival on. */
  limitFromArrival(ms: number): void {
    this.host.deadlines.add(this, ms, this.startedAt);
  }

  /** The handler may take as long as it wants. */
  unlimit(): void {
    this.host.deadlines.remove(this);
  }

  /** Time that the handler has left, or `undefined` where it is not limited. */
  get timeLeftMs(): number | undefined {
    return this.host.deadlines.timeLeftMs(this);
  }

  /** Nobody waits any more: the handler is told, and nothing is sent. */
  abort(reason: Fault): void {
    if (this.settle(this.fruitless)) this.cancel(reason);
  }

  /** The handler has ended: the slot is free. */
  ended(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.settle();
    this.host.ended(this);
  }

  /** Joins its session, as it comes: the client may close that before a handler begins, and it must not come back then. */
  joinSession(): void {
    const { session_id: id } = this.header;
    if (id === undefined) return;
    try {
      this.session = this.host.sessions.get(id);
    } catch (error) {
      this.session = error as Fault;
    }
  }

  /** Takes over what processors or middleware have made of the header of its first message; `undefined`: nothing. */
  protected acceptHeader(header: Header | undefined): void {
    if (!header) return;
    const { session_id: before } = this.header;
    this.header = header;
    if (this.header.session_id === before) return;
    this.session = undefined;
    this.joinSession();
  }

  /** Ends it with an error, which the peer gets; `name` is the class that a peer of this project sees. */
  abstract fail(fault: Fault, name: string): void;

  /** Why it was given up, where it was. */
  protected get reason(): Fault | undefined {
    return this.#reason;
  }

  protected cancel(reason: Fault): void {
    this.#reason ??= reason;
    this.#signal?.abort(reason);
  }

  /** Whether the peer gives it up before it got anything, and before its time: that was work for nothing. */
  protected get fruitless(): boolean {
    const { timeout_ms: told } = this.header;
    if (typeof told !== 'number' || !this.connection.has(Extension.Deadline)) return true;
    return this.startedAt + told - this.host.clock.now() > NEARLY_OVER_MS;
  }

  /** Settles; false where it has before. `wasted`: given up by the peer before it got anything. */
  protected settle(wasted = false): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.host.deadlines.remove(this);
    this.host.settled(this, wasted);
    try {
      this.onSettled?.();
    } catch {
      // the listener tells of its own failures; everything else that ends now still must
    }
    return true;
  }
}

/** Why a handler is told to stop whose caller is gone. */
export const LEFT_BY_CALLER = 'the caller cancelled';

/** It is more than this side takes on; nothing has run. */
export function tooMany(message: string): Fault {
  return new Fault({ status: Status.TooManyRequests, message });
}
