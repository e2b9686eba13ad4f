import type { Clock, Timer } from '../../protocol/clock.js';
import { Fault, LocalCode } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { heldBytes } from '../../protocol/held-body.js';
import type { Link } from '../../protocol/link.js';
import { Status } from '../../protocol/status.js';
import type { ConnectionHandle } from '../connection/connection-info.js';
import { connectionLost } from '../connection/connection-lost.js';
import { type CorrelationIds, isBeyond } from '../correlation-ids.js';
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
  /** The owner of a call gave it up after it was sent. */
  readonly onAbandoned: (call: PendingCall) => void;
}

/** The calls of this side over one connection: at most `maxInFlight` at the peer, the rest in a queue. */
export class OutgoingCalls implements PendingCallOwner, CallLine {
  readonly connection: ConnectionHandle;
  readonly link: Link;
  readonly limits: RapLimits;
  /** Calls that may be at the peer at once. */
  maxInFlight: number;
  events: EventMode = 'called';

  readonly #ids: CorrelationIds;
  readonly #deadlines: DeadlineQueue;
  readonly #clock: Clock;
  readonly #onAbandoned: (call: PendingCall) => void;
  /** Whether the peer understands `timeout_ms`. */
  #peerKnowsDeadlines = false;
  readonly #live = new IdTable<PendingCall>();
  /** What was taken off is not kept: calls that are over would outlive their time with it, and grow old. */
  #queue: (PendingCall | undefined)[] = [];
  /** Place of the queue's head: taking one off shifts nothing. */
  #head = 0;
  #queuedCount = 0;
  /** Events that the peer has taken and whose handlers have not ended: each holds a slot there. */
  #runningEvents = 0;
  /** Bytes of the bodies in the queue. */
  #queuedBytes = 0;
  #started = false;
  /** Sends what waits, in the next turn. */
  #flushTimer: Timer | undefined;
  /** Work that waits until calls have left which wait themselves. */
  #deferred: { readonly calls: readonly PendingCall[]; readonly work: () => void }[] = [];
  /** Why nothing more is sent. */
  #closed: Fault | undefined;

  constructor({ connection, link, ids, deadlines, limits, clock, onAbandoned }: OutgoingCallsOptions) {
    this.connection = connection;
    this.link = link;
    this.limits = limits;
    this.maxInFlight = limits.maxInFlight;
    this.#ids = ids;
    this.#deadlines = deadlines;
    this.#clock = clock;
    this.#onAbandoned = onAbandoned;
  }

  /** Calls that were sent and not answered. */
  get inFlight(): number {
    return this.#live.size;
  }

  /** Calls that wait for a slot. */
  get queued(): number {
    return this.#queuedCount;
  }

  /** Whether a call was started since the last time this was asked, or is in flight. */
  wasBusy(): boolean {
    const busy = this.#started || this.#live.size > 0;
    this.#started = false;
    return busy;
  }

  isLive(id: number): boolean {
    return this.#live.has(id);
  }

  /** The live call under an id. */
  get(id: number): PendingCall | undefined {
    return this.#live.get(id);
  }

  /** What was agreed with the peer. */
  agree(maxInFlight: number, knowsDeadlines: boolean, events: EventMode): void {
    this.maxInFlight = Math.min(this.limits.maxInFlight, maxInFlight);
    this.#peerKnowsDeadlines = knowsDeadlines;
    this.events = events;
  }

  // --- calls come ---------------------------------------------------------------------------------------------

  /** Sends a call or an event, or queues it. Everything that goes wrong goes to its sink. */
  start(call: PendingCall): void {
    this.#started = true;
    const refusal = this.#refusal();
    if (refusal) call.reject(refusal);
    else if (this.#queuedCount === 0 && this.#hasRoom()) call.transmit(this, this.#ids.next());
    else this.#enqueue(call);
    if (!call.settled) this.#deadlines.add(call, timeLeftOf(call.request));
  }

  /** Takes over calls that another connection had not sent. Their time goes on. */
  adopt(calls: Iterable<PendingCall>): void {
    for (const call of calls) {
      call.owner = this;
      if (this.#closed) call.reject(this.#closed);
      else if (this.#hasRoom()) call.transmit(this, this.#ids.next());
      else this.#append(call);
    }
  }

  /** Does something once the calls that wait now have left, or are settled: at once if none waits. */
  afterUnsent(work: () => void): void {
    const calls = [...this.#live.values(), ...this.#waiting()].filter(isUnsent);
    if (calls.length === 0) work();
    else this.#deferred.push({ calls, work });
  }

  /** @throws {@link Fault} if nothing more may be sent, or too much waits already: for what has no place in the queue */
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

  // --- calls go: what a call asks of its line -----------------------------------------------------------------

  took(call: PendingCall, id: number): void {
    call.id = id;
    this.#live.set(id, call);
    if (this.#deferred.length > 0) this.#goOn();
  }

  sent(): void {
    if (this.#deferred.length > 0) this.#goOn();
  }

  tellsTime({ request }: PendingCall): boolean {
    return request.tellTimeLeft === true && this.#peerKnowsDeadlines;
  }

  timed(call: PendingCall, header: Header): Header {
    if (!this.tellsTime(call)) return header;
    // a call that waited in the queue has less left than it was given
    return timeLeftHeader(header, this.#deadlines.timeLeftMs(call) ?? timeLeftOf(call.request));
  }

  // --- calls are over -----------------------------------------------------------------------------------------

  forget(call: PendingCall): void {
    if (this.#takeOut(call)) this.#sendQueued();
    if (this.#deferred.length > 0) this.#goOn();
  }

  /**
   * Its slot is given to the next call in a later turn of the event loop: many calls are given up together, by one signal or
   * at one time, and the next one in line may be among them. Sent in between, it would be work for nothing at the peer.
   */
  giveUp(call: PendingCall): void {
    if (this.#takeOut(call) && this.#queuedCount > 0)
      this.#flushTimer ??= this.#clock.after(0, this.#flushLater);
    if (this.#deferred.length > 0) this.#goOn();
  }

  readonly #flushLater = (): void => {
    this.#flushTimer = undefined;
    this.flush();
  };

  /** Whether that frees a slot. */
  #takeOut(call: PendingCall): boolean {
    this.#deadlines.remove(call);
    if (call.queued) this.#dequeued(call);
    return call.id !== 0 && this.#live.delete(call.id);
  }

  abandoned(call: PendingCall): void {
    this.#onAbandoned(call);
  }

  /** The peer has taken an event, which holds its slot until its handler has ended. */
  eventTaken(): void {
    this.#runningEvents += 1;
  }

  /** Handlers of events have ended. */
  eventsEnded(count: number): void {
    this.#runningEvents = Math.max(0, this.#runningEvents - count);
    this.flush();
  }

  // --- the end ------------------------------------------------------------------------------------------------

  /** Takes no new calls; those that wait are still sent. */
  refuse(reason: Fault): void {
    this.#closed = reason;
  }

  /** Hands over the calls that were not sent; nothing new is sent from here on. */
  surrender(reason: Fault): PendingCall[] {
    this.#closed = reason;
    this.#flushTimer?.cancel();
    this.#flushTimer = undefined;
    const calls = this.#waiting().filter(({ settled }) => !settled);
    for (const call of calls) call.queued = false;
    this.#queue = [];
    this.#head = 0;
    this.#queuedCount = 0;
    this.#queuedBytes = 0;
    return [...this.#takeUnsent(reason), ...calls];
  }

  /** Calls that have their slot, and of which nothing was sent, go elsewhere as if they had only waited. */
  #takeUnsent(reason: Fault): PendingCall[] {
    const calls = this.#live.values().filter(isUnsent);
    for (const call of calls) {
      this.#live.delete(call.id);
      call.restart(reason);
    }
    return calls;
  }

  /** As `surrender`, to another connection. Calls of sessions stay with this one, and fail with it. */
  handOver(reason: Fault): PendingCall[] {
    const calls = this.surrender(reason);
    const gone = connectionLost(`the session is gone: ${reason.message}`, undefined, 'no');
    for (const call of calls) if (call.request.pinned) call.reject(gone);
    return calls.filter(({ settled }) => !settled);
  }

  /** This side is about to close: what was written still leaves. Whether events are among it that nobody has answered. */
  closing(): boolean {
    let wasSent = false;
    for (const call of this.#live.values()) if (call.sentAtClose()) wasSent = true;
    return wasSent;
  }

  /**
   * Fails everything: what was sent with one fault; what was not, what comes later, and what the peer has not taken, with
   * the other.
   */
  failAll(sent: Fault, unsent: Fault, lastTaken?: number): void {
    const queued = this.surrender(unsent);
    for (const call of this.#live.values()) call.reject(isBeyond(call.id, lastTaken) ? unsent : sent);
    for (const call of queued) call.reject(unsent);
  }

  // --- the queue ----------------------------------------------------------------------------------------------

  /** The connection takes more. */
  flush(): void {
    if (this.#queuedCount > 0) this.#sendQueued();
  }

  /** A slot is free, and what was sent before does not wait for the peer. */
  #hasRoom(): boolean {
    return (
      this.#live.size + this.#runningEvents < this.maxInFlight &&
      this.link.pendingBytes <= this.limits.sendBufferSoftBytes
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

  /** What waits is sent as it was when the call was made. */
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

  #waiting(): PendingCall[] {
    return this.#queue.slice(this.#head).filter((call) => call !== undefined);
  }

  #sendQueued(): void {
    while (this.#head < this.#queue.length && this.#hasRoom()) {
      const call = this.#queue[this.#head];
      this.#queue[this.#head++] = undefined;
      if (!call || call.settled) continue;
      this.#dequeued(call);
      call.transmit(this, this.#ids.next());
    }
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }

  #goOn(): void {
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
