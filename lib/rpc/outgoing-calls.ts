import type { EncodedHeader } from '../protocol/encoder.js';
import { Fault, LocalCode } from '../protocol/fault.js';
import { MsgType, type Header } from '../protocol/frame.js';
import type { Link } from '../protocol/link.js';
import { Status } from '../protocol/status.js';
import type { CorrelationIds } from './correlation-ids.js';
import type { DeadlineQueue } from './deadline-queue.js';
import type { RapLimits } from './limits.js';
import {
  PendingCall,
  timeLeftHeader,
  type CallRequest,
  type PendingCallOwner,
  type ReplySink,
} from './pending-call.js';

/** The calls of this side over one connection: at most `maxInFlight` at the peer, the rest in a queue. */
export class OutgoingCalls implements PendingCallOwner {
  readonly #live = new Map<number, PendingCall>();
  #queue: PendingCall[] = [];
  /** Whether the peer understands `timeout_ms`. */
  #tellTimeLeft = false;
  /** Place of the queue's head: taking one off shifts nothing. */
  #head = 0;

  constructor(
    private readonly link: Link,
    private readonly ids: CorrelationIds,
    private readonly deadlines: DeadlineQueue,
    private readonly limits: RapLimits,
    private readonly onAbandoned: (call: PendingCall) => void,
  ) {}

  /** Calls that were sent and not answered. */
  get inFlight(): number {
    return this.#live.size;
  }

  /** Calls that wait for a slot, those that were given up included. */
  get queued(): number {
    return this.#queue.length - this.#head;
  }

  isLive(id: number): boolean {
    return this.#live.has(id);
  }

  /** Sends a call, or queues it. Everything that goes wrong goes to the sink. */
  start(request: CallRequest, sink: ReplySink, deadlines = false): PendingCall {
    this.#tellTimeLeft = deadlines;
    const call = new PendingCall(request, sink, this);
    if (this.#live.size < this.limits.maxInFlight) this.#send(call);
    else if (this.queued < this.limits.maxQueuedCalls) this.#queue.push(call);
    else call.reject(overload(`${this.queued} calls wait already (limits.maxQueuedCalls)`));
    if (!call.settled) this.deadlines.add(call, request.timeoutMs);
    return call;
  }

  /** The live call under an id. */
  get(id: number): PendingCall | undefined {
    return this.#live.get(id);
  }

  /** Fails everything: what was sent with one fault, what was not with the other. */
  failAll(sent: Fault, unsent: Fault): void {
    const live = [...this.#live.values()];
    const queued = this.#queue.slice(this.#head);
    this.#queue = [];
    this.#head = 0;
    for (const call of live) call.reject(sent);
    for (const call of queued) call.reject(unsent);
  }

  forget(call: PendingCall): void {
    this.deadlines.remove(call);
    if (call.id !== 0 && this.#live.delete(call.id)) this.#sendQueued();
  }

  abandoned(call: PendingCall): void {
    this.onAbandoned(call);
  }

  #send(call: PendingCall): void {
    const { body } = call.request;
    if (this.link.pendingBytes > this.limits.sendBufferHardBytes) {
      call.reject(overload(`${this.link.pendingBytes} bytes wait to be sent (limits.sendBufferHardBytes)`));
      return;
    }
    const id = this.ids.next();
    try {
      this.link.send(MsgType.Msg, id, this.#headerOf(call), body);
    } catch (error) {
      call.reject(error as Fault);
      return;
    }
    call.id = id;
    this.#live.set(id, call);
  }

  #headerOf(call: PendingCall): Header | EncodedHeader {
    const { header, encodedHeader, timeoutMs, tellTimeLeft } = call.request;
    if (!tellTimeLeft || !this.#tellTimeLeft) return encodedHeader ?? header;
    // a call that waited in the queue has less left than it was given
    return timeLeftHeader(header, this.deadlines.timeLeftMs(call) ?? timeoutMs);
  }

  #sendQueued(): void {
    while (this.#live.size < this.limits.maxInFlight && this.#head < this.#queue.length) {
      const call = this.#queue[this.#head++] as PendingCall;
      if (!call.settled) this.#send(call);
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

function overload(why: string): Fault {
  return new Fault({
    status: Status.TooManyRequests,
    code: LocalCode.Overload,
    message: `Overload: ${why}`,
    sent: 'no',
  });
}
