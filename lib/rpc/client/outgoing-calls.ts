/* oxlint-disable typescript/unbound-method -- a function that runs in a context is called on its object */
import type { Clock, Timer } from '../../protocol/clock.js';
import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import { hold } from '../../protocol/encoder.js';
import { Fault, LocalCode } from '../../protocol/fault.js';
import { MsgType, type Header } from '../../protocol/frame.js';
import { heldBytes } from '../../protocol/held-body.js';
import type { Link } from '../../protocol/link.js';
import { Status } from '../../protocol/status.js';
import { captureContext } from '../context/async-context.js';
import { connectionLost } from '../connection/connection-lost.js';
import { type CorrelationIds, isBeyond } from '../correlation-ids.js';
import type { DeadlineQueue } from '../time/deadline-queue.js';
import { IdTable } from '../id-table.js';
import type { RapLimits } from '../limits.js';
import type { MessageView } from '../../pipeline/message-view.js';
import {
  PendingCall,
  timeLeftHeader,
  timeLeftOf,
  type CallRequest,
  type PendingCallOwner,
  type ReplySink,
} from './pending-call.js';
import { eventHeader, type EventMode, PendingEvent } from './pending-event.js';
import type { MessageKind } from '../../pipeline/api.js';
import { afterwards, type Exchange } from '../../pipeline/exchange.js';

/** The calls of this side over one connection: at most `maxInFlight` at the peer, the rest in a queue. */
export class OutgoingCalls implements PendingCallOwner {
  /** Calls that may be at the peer at once. */
  maxInFlight: number;

  /** Whether the peer understands `timeout_ms`. */
  peerKnowsDeadlines = false;

  /** How events go to the peer. */
  events: EventMode = 'called';

  /** Where processors are loaded: begins the way of a call through them. */
  openExchange: ((kind: MessageKind, target: string, id: number) => Exchange) | undefined;

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
  /** What waits until calls have left that wait themselves. */
  #behind: { readonly calls: readonly PendingCall[]; readonly work: () => void }[] = [];
  /** Why nothing more is sent. */
  #closed: Fault | undefined;

  constructor(
    private readonly link: Link,
    private readonly ids: CorrelationIds,
    private readonly deadlines: DeadlineQueue,
    private readonly limits: RapLimits,
    private readonly clock: Clock,
    private readonly onAbandoned: (call: PendingCall) => void,
  ) {
    this.maxInFlight = limits.maxInFlight;
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

  /** Sends a call, or queues it. Everything that goes wrong goes to the sink. `plain`: no processor sees it. */
  start(request: CallRequest, sink: ReplySink, plain = false): PendingCall {
    const call = new PendingCall(request, sink, this);
    call.isPlain = plain;
    return this.#begin(call);
  }

  /** Sends an event, or queues it: it takes a slot of the peer as a call does. No processor sees it here. */
  emit(request: CallRequest, sink: ReplySink): PendingCall {
    return this.#begin(new PendingEvent(request, sink, this));
  }

  #begin(call: PendingCall): PendingCall {
    this.#started = true;
    const refusal = this.#refusal();
    if (refusal) call.reject(refusal);
    else if (this.#queuedCount === 0 && this.#hasRoom()) this.#send(call);
    else this.#enqueue(call);
    if (!call.settled) this.deadlines.add(call, timeLeftOf(call.request));
    return call;
  }

  /** Takes over calls that another connection had not sent. Their time goes on. */
  adopt(calls: Iterable<PendingCall>): void {
    for (const call of calls) {
      call.owner = this;
      if (this.#closed) call.reject(this.#closed);
      else if (this.#hasRoom()) this.#send(call);
      else this.#append(call);
    }
  }

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
    if (this.openExchange) calls.unshift(...this.#takeUnsent(reason));
    this.#queue = [];
    this.#head = 0;
    this.#queuedCount = 0;
    this.#queuedBytes = 0;
    return calls;
  }

  /** As `surrender`, to another connection. Calls of sessions stay with this one, and fail with it. */
  handOver(reason: Fault): PendingCall[] {
    const calls = this.surrender(reason);
    const gone = connectionLost(`the session is gone: ${reason.message}`, undefined, 'no');
    for (const call of calls) if (call.request.pinned) call.reject(gone);
    return calls.filter(({ settled }) => !settled);
  }

  /** Does something once the calls that wait now have left, or are settled: at once where none waits. */
  afterUnsent(work: () => void): void {
    const calls = [...this.#live.values(), ...this.#waiting()].filter(isUnsent);
    if (calls.length === 0) work();
    else this.#behind.push({ calls, work });
  }

  /** @throws Fault where nothing more may be sent, or too much waits already: for what has no place in the queue */
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

  /** The connection takes more. */
  flush(): void {
    if (this.#queuedCount > 0) this.#sendQueued();
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

  /**
   * This side is about to close: what was written still leaves, and events that nobody has answered were sent. Whether there
   * were such events.
   */
  closing(): boolean {
    let wasSent = false;
    for (const call of this.#live.values()) {
      if (!call.isEvent) continue;
      (call as PendingEvent).wasSentAtClose();
      wasSent = true;
    }
    return wasSent;
  }

  /** The live call under an id. */
  get(id: number): PendingCall | undefined {
    return this.#live.get(id);
  }

  /** What the peer lets this side have at it at once, and whether it understands `timeout_ms`. */
  agree(maxInFlight: number, knowsDeadlines: boolean): void {
    this.maxInFlight = Math.min(this.limits.maxInFlight, maxInFlight);
    this.peerKnowsDeadlines = knowsDeadlines;
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

  forget(call: PendingCall): void {
    if (this.#takeOut(call)) this.#sendQueued();
    if (this.#behind.length > 0) this.#goOn();
  }

  /**
   * Its slot is given to the next call in a later turn of the event loop: many calls are given up together, by one signal or
   * at one time, and the next one in line may be among them. Sent in between, it would be work for nothing at the peer.
   */
  giveUp(call: PendingCall): void {
    if (this.#takeOut(call) && this.#queuedCount > 0)
      this.#flushTimer ??= this.clock.after(0, this.#flushLater);
    if (this.#behind.length > 0) this.#goOn();
  }

  readonly #flushLater = (): void => {
    this.#flushTimer = undefined;
    this.flush();
  };

  /** Whether that frees a slot. */
  #takeOut(call: PendingCall): boolean {
    this.deadlines.remove(call);
    if (call.queued) this.#dequeued(call);
    return call.id !== 0 && this.#live.delete(call.id);
  }

  abandoned(call: PendingCall): void {
    this.onAbandoned(call);
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

  /** What waits is sent as it was when the call was made, in the context of its caller. */
  #append(call: PendingCall): void {
    const isProcessed = this.openExchange !== undefined && !call.isPlain;
    try {
      call.hold(hold(call.request.body, this.limits, isProcessed));
    } catch (error) {
      return call.reject(error as Fault);
    }
    // whatever frees a slot for it has nothing to do with it
    if (isProcessed) call.context ??= captureContext();
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

  #send(call: PendingCall): void {
    const { body } = call.request;
    const id = this.ids.next();
    if (this.openExchange && !call.isPlain) {
      const { context } = call;
      if (context) context.runInAsyncScope(this.#process, this, call, id, this.openExchange);
      else this.#process(call, id, this.openExchange);
      return;
    }
    try {
      this.link.send(MsgType.Msg, id, this.#headerOf(call), body);
    } catch (error) {
      call.reject(error as Fault);
      return;
    }
    call.id = id;
    this.#live.set(id, call);
    if (call.isEvent) (call as PendingEvent).wasWritten(this.events);
    if (this.#behind.length > 0) this.#goOn();
  }

  #goOn(): void {
    const all = this.#behind;
    this.#behind = all.filter(({ calls }) => calls.some(isUnsent));
    for (const { calls, work } of all) if (!calls.some(isUnsent)) work();
  }

  /** A call goes through the processors first: it has its slot, and nothing of it was sent. */
  #process(call: PendingCall, id: number, open: NonNullable<typeof this.openExchange>): void {
    const exchange = open('call', call.request.target, id);
    let view: MessageView;
    try {
      // it may begin anew on another connection
      call.hold(hold(call.request.body, this.limits, true));
      view = exchange.outgoing(undefined, call.request.header, call.request.body);
    } catch (error) {
      return call.reject(error as Fault);
    }
    call.exchange = exchange;
    call.id = id;
    call.isProcessed = 'out';
    this.#live.set(id, call);
    void afterwards(
      () => exchange.begin(view),
      () => this.#sendProcessed(call, view),
      (error) => {
        if (!call.settled && call.exchange === exchange) call.reject(exchange.faultOf(error).fault);
      },
    );
  }

  #sendProcessed(call: PendingCall, view: MessageView): void {
    if (call.settled || call.id !== view.id || call.isProcessed !== 'out') return;
    try {
      const header = view.isTouched ? this.#timed(call, view.outcome as Header) : this.#headerOf(call);
      this.link.send(MsgType.Msg, call.id, header, view.body);
    } catch (error) {
      call.reject(error as Fault);
      return;
    }
    call.isProcessed = false;
    if (this.#behind.length > 0) this.#goOn();
  }

  /** Calls that processors still work on go elsewhere, as if they had only waited: there they begin anew. */
  #takeUnsent(reason: Fault): PendingCall[] {
    const calls = this.#live.values().filter(({ isProcessed }) => isProcessed === 'out');
    for (const call of calls) {
      this.#live.delete(call.id);
      call.restart(reason);
    }
    return calls;
  }

  #headerOf(call: PendingCall): Header | EncodedHeader {
    const { header, encodedHeader } = call.request;
    if (call.isEvent) return this.#timed(call, eventHeader(header, this.events));
    return encodedHeader && !this.#tellsTime(call) ? encodedHeader : this.#timed(call, header);
  }

  #tellsTime({ request }: PendingCall): boolean {
    return request.tellTimeLeft === true && this.peerKnowsDeadlines;
  }

  #timed(call: PendingCall, header: Header): Header {
    if (!this.#tellsTime(call)) return header;
    // a call that waited in the queue has less left than it was given
    return timeLeftHeader(header, this.deadlines.timeLeftMs(call) ?? timeLeftOf(call.request));
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
      this.#send(call);
    }
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }
}

function isUnsent({ settled, queued, isProcessed }: PendingCall): boolean {
  return !settled && (queued || isProcessed === 'out');
}

function overload(why: string): Fault {
  return new Fault({
    status: Status.TooManyRequests,
    code: LocalCode.Overload,
    message: `Overload: ${why}`,
    sent: 'no',
  });
}
