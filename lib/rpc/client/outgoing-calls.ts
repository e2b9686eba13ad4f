import type { Clock, Timer } from '../../protocol/clock.js';
import { Fault, LocalCode } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { heldBytes } from '../../protocol/held-body.js';
import type { Link } from '../../protocol/link.js';
import { Status } from '../../protocol/status.js';
import type { ConnectionHandle } from '../connection/connection-info.js';
import type { KeepAlive } from '../connection/keep-alive.js';
import { connectionLost } from '../connection/connection-lost.js';
import { type CorrelationIds, isBeyond } from '../correlation-ids.js';
import { Fifo } from '../fifo.js';
import { IdTable } from '../id-table.js';
import type { RapLimits } from '../limits.js';
import type { DeadlineQueue } from '../time/deadline-queue.js';
import { timeLeftHeader, timeLeftOf } from './call-request.js';
import type { EventMode } from './event-mode.js';
import type { CallLine, PendingCall, PendingCallOwner } from './pending-call.js';

export interface OutgoingCallsOptions {
  readonly connection: ConnectionHandle;
  readonly link: Link;
  readonly ids: CorrelationIds;
  readonly deadlines: DeadlineQueue;
  readonly limits: RapLimits;
  readonly clock: Clock;
  readonly keepAlive: KeepAlive;
  /** A call was cancelled or timed out after it was sent. */
  readonly onAbandoned: (call: PendingCall) => void;
}

/** The calls of this side on one connection: at most `maxInFlight` in flight, the rest in a queue. */
export class OutgoingCalls implements PendingCallOwner, CallLine {
  readonly connection: ConnectionHandle;
  readonly link: Link;
  readonly limits: RapLimits;
  maxInFlight: number;
  events: EventMode = 'called';

  readonly #ids: CorrelationIds;
  readonly #deadlines: DeadlineQueue;
  readonly #clock: Clock;
  readonly #keepAlive: KeepAlive;
  readonly #onAbandoned: (call: PendingCall) => void;
  /** Whether the peer understands `timeout_ms`. */
  #peerKnowsDeadlines = false;
  readonly #live = new IdTable<PendingCall>();
  /** Calls that wait for a slot, and settled calls that did. */
  readonly #queue = new Fifo<PendingCall>();
  /** Calls in the queue that have not settled. */
  #queuedCount = 0;
  /** Events that the peer has accepted and whose handlers have not ended: each holds a slot. */
  #runningEvents = 0;
  /** Bytes of the queued bodies. */
  #queuedBytes = 0;
  #started = false;
  /** Flushes the queue in the next turn. */
  #flushTimer: Timer | undefined;
  /** Work to do once all of its calls were sent or have settled. */
  #deferred: { readonly calls: readonly PendingCall[]; readonly work: () => void }[] = [];
  /** Why nothing more is sent. */
  #closed: Fault | undefined;

  constructor(options: OutgoingCallsOptions) {
    const { connection, link, limits } = options;
    this.connection = connection;
    this.link = link;
    this.limits = limits;
    this.maxInFlight = limits.maxInFlight;
    this.#ids = options.ids;
    this.#deadlines = options.deadlines;
    this.#clock = options.clock;
    this.#keepAlive = options.keepAlive;
    this.#onAbandoned = options.onAbandoned;
  }

  /** Calls that hold a slot. */
  get inFlight(): number {
    return this.#live.size;
  }

  get queued(): number {
    return this.#queuedCount;
  }

  /** Whether a call was started since the last check, or is in flight. */
  wasBusy(): boolean {
    const busy = this.#started || this.#live.size > 0;
    this.#started = false;
    return busy;
  }

  isLive(id: number): boolean {
    return this.#live.has(id);
  }

  get(id: number): PendingCall | undefined {
    return this.#live.get(id);
  }

  /** The result of the handshake. */
  agree(maxInFlight: number, knowsDeadlines: boolean, events: EventMode): void {
    this.maxInFlight = Math.min(this.limits.maxInFlight, maxInFlight);
    this.#peerKnowsDeadlines = knowsDeadlines;
    this.events = events;
  }

  // --- starting -----------------------------------------------------------------------------------------------

  /** Sends or queues a call or event. Errors go to its sink. */
  start(call: PendingCall): void {
    this.#started = true;
    const now = this.#clock.now();
    this.#keepAlive.used(now);
    const refusal = this.#refusal();
    if (refusal) call.reject(refusal);
    else if (this.#queuedCount === 0 && this.#hasRoom()) call.transmit(this, this.#ids.next());
    else this.#enqueue(call);
    if (!call.settled) this.#deadlines.add(call, timeLeftOf(call.request), now);
  }

  /** Takes over unsent calls of another connection. Their deadlines stay. */
  adopt(calls: Iterable<PendingCall>): void {
    for (const call of calls) {
      call.owner = this;
      if (this.#closed) call.reject(this.#closed);
      else if (this.#hasRoom()) call.transmit(this, this.#ids.next());
      else this.#append(call);
    }
  }

  /** Does the work once the calls that are unsent now were sent or have settled: at once if there are none. */
  afterUnsent(work: () => void): void {
    const calls = [...this.#live.values(), ...this.#queue.toArray()].filter(isUnsent);
    if (calls.length === 0) work();
    else this.#deferred.push({ calls, work });
  }

  /** For channels, which are not queued. @throws {@link Fault} if nothing more may be sent, or too many bytes are unsent */
  assertOpen(): void {
    const refusal = this.#refusal();
    if (refusal) throw refusal;
  }

  #refusal(): Fault | undefined {
    if (this.#closed) return this.#closed;
    const { pendingBytes } = this.link;
    if (pendingBytes <= this.limits.sendBufferHardBytes) return undefined;
    return overload(`${pendingBytes} bytes wait to be sent (limits.sendBufferHardBytes)`);
  }

  // --- CallLine -----------------------------------------------------------------------------------------------

  took(call: PendingCall, id: number): void {
    call.id = id;
    this.#live.set(id, call);
    if (this.#deferred.length > 0) this.#runDeferred();
  }

  sent(): void {
    if (this.#deferred.length > 0) this.#runDeferred();
  }

  sendsDeadline({ request }: PendingCall): boolean {
    return request.tellTimeLeft === true && this.#peerKnowsDeadlines;
  }

  withDeadline(call: PendingCall, header: Header): Header {
    if (!this.sendsDeadline(call)) return header;
    // a queued call has used up some of its time
    return timeLeftHeader(header, this.#deadlines.timeLeftMs(call) ?? timeLeftOf(call.request));
  }

  // --- settling -----------------------------------------------------------------------------------------------

  forget(call: PendingCall): void {
    if (this.#remove(call)) this.#sendQueued();
    if (this.#deferred.length > 0) this.#runDeferred();
  }

  /**
   * Frees the slot in a later turn of the event loop: calls are often cancelled together, by one signal or deadline, and the
   * next in the queue may be among them. Sending it in between would be wasted work for the peer.
   */
  giveUp(call: PendingCall): void {
    if (this.#remove(call) && this.#queuedCount > 0)
      this.#flushTimer ??= this.#clock.after(0, this.#flushLater);
    if (this.#deferred.length > 0) this.#runDeferred();
  }

  readonly #flushLater = (): void => {
    this.#flushTimer = undefined;
    this.flush();
  };

  /** Returns whether that frees a slot. */
  #remove(call: PendingCall): boolean {
    this.#deadlines.remove(call);
    if (call.queued) this.#dequeued(call);
    return call.id !== 0 && this.#live.delete(call.id);
  }

  abandoned(call: PendingCall): void {
    this.#onAbandoned(call);
  }

  /** The peer has accepted an event, which holds its slot until its handler has ended. */
  eventTaken(): void {
    this.#runningEvents += 1;
  }

  eventsEnded(count: number): void {
    this.#runningEvents = Math.max(0, this.#runningEvents - count);
    this.flush();
  }

  // --- the end ------------------------------------------------------------------------------------------------

  /** Refuses new calls; queued ones are still sent. */
  refuse(reason: Fault): void {
    this.#closed = reason;
  }

  /** Removes and returns the unsent calls; nothing new is sent from here on. */
  takeUnsent(reason: Fault): PendingCall[] {
    this.#closed = reason;
    this.#flushTimer?.cancel();
    this.#flushTimer = undefined;
    const calls = this.#queue.toArray().filter(({ settled }) => !settled);
    for (const call of calls) call.queued = false;
    this.#queue.clear();
    this.#queuedCount = 0;
    this.#queuedBytes = 0;
    return [...this.#takeUnsentLive(reason), ...calls];
  }

  /** Calls that hold a slot but are still in the processors: to be restarted elsewhere. */
  #takeUnsentLive(reason: Fault): PendingCall[] {
    const calls = this.#live.values().filter(isUnsent);
    for (const call of calls) {
      this.#live.delete(call.id);
      call.restart(reason);
    }
    return calls;
  }

  /** As `takeUnsent`, for another connection. Calls of sessions cannot move, and fail. */
  takeMovable(reason: Fault): PendingCall[] {
    const calls = this.takeUnsent(reason);
    const gone = connectionLost(`the session is gone: ${reason.message}`, undefined, 'no');
    for (const call of calls) if (call.request.pinned) call.reject(gone);
    return calls.filter(({ settled }) => !settled);
  }

  /** This side is about to close, after flushing. Returns whether events in flight are unconfirmed. */
  closing(): boolean {
    let wasSent = false;
    for (const call of this.#live.values()) if (call.sentAtClose()) wasSent = true;
    return wasSent;
  }

  /**
   * Fails everything: with `sent` calls that the peer may have accepted, with `unsent` all others, later ones included.
   */
  failAll(sent: Fault, unsent: Fault, lastTaken?: number): void {
    const queued = this.takeUnsent(unsent);
    for (const call of this.#live.values()) call.reject(isBeyond(call.id, lastTaken) ? unsent : sent);
    for (const call of queued) call.reject(unsent);
  }

  // --- the queue ----------------------------------------------------------------------------------------------

  /** The connection has room. */
  flush(): void {
    if (this.#queuedCount > 0) this.#sendQueued();
  }

  /** Whether a slot is free, the send buffer is below its soft limit, and the peer need not prove first that it lives. */
  #hasRoom(): boolean {
    return (
      this.#live.size + this.#runningEvents < this.maxInFlight &&
      this.link.pendingBytes <= this.limits.sendBufferSoftBytes &&
      !this.#keepAlive.isUnproven
    );
  }

  #enqueue(call: PendingCall): void {
    const { maxQueuedCalls, maxQueuedBytes } = this.limits;
    if (this.#queuedCount >= maxQueuedCalls)
      return call.reject(overload(`${this.#queuedCount} calls wait already (limits.maxQueuedCalls)`));
    if (this.#queuedBytes > maxQueuedBytes)
      return call.reject(
        overload(`${this.#queuedBytes} bytes of calls wait already (limits.maxQueuedBytes)`),
      );
    this.#append(call);
  }

  /** Queues a snapshot of the body: later changes to it are not sent. */
  #append(call: PendingCall): void {
    try {
      call.hold(this.limits);
    } catch (error) {
      return call.reject(error as Fault);
    }
    call.queued = true;
    this.#queuedCount += 1;
    this.#queuedBytes += heldBytes(call.request.body);
    this.#queue.push(call);
  }

  #dequeued(call: PendingCall): void {
    call.queued = false;
    this.#queuedCount -= 1;
    this.#queuedBytes -= heldBytes(call.request.body);
  }

  #sendQueued(): void {
    while (this.#queue.length > 0 && this.#hasRoom()) {
      const call = this.#queue.shift() as PendingCall;
      if (call.settled) continue;
      this.#dequeued(call);
      call.transmit(this, this.#ids.next());
    }
  }

  #runDeferred(): void {
    const all = this.#deferred;
    this.#deferred = all.filter(({ calls }) => calls.some(isUnsent));
    for (const { calls, work } of all) if (!calls.some(isUnsent)) work();
  }
}

function isUnsent({ settled, wasSent }: PendingCall): boolean {
  return !settled && !wasSent;
}

function overload(why: string): Fault {
  return new Fault({
    status: Status.TooManyRequests,
    code: LocalCode.Overload,
    message: `Overload: ${why}`,
    sent: 'no',
  });
}
