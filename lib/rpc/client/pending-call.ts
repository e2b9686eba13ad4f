import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import type { Clock } from '../../protocol/clock.js';
import { hold } from '../../protocol/encoder.js';
import type { Fault } from '../../protocol/fault.js';
import { MsgType, type Header } from '../../protocol/frame.js';
import type { Link } from '../../protocol/link.js';
import { isErrorStatus } from '../../protocol/status.js';
import { fromErrorFrame } from '../../protocol/wire-error.js';
import { callCancelled } from '../call-faults.js';
import type { Channel } from '../channel/channel.js';
import { channelFault, type ChannelTable } from '../channel/channel-table.js';
import type { ConnectionHandle } from '../connection/connection-info.js';
import type { RapLimits } from '../limits.js';
import { Expiring } from '../time/deadline-queue.js';
import { isOwnTimeout } from '../time/own-timeout.js';
import type { CallRequest, ReplySink } from './call-request.js';
import { callTimeout } from './call-timeout.js';
import type { EventMode } from './event-mode.js';

/** The table or queue that a pending call stands in while it waits. */
export interface PendingCallOwner {
  forget(call: PendingCall): void;
  /** As `forget`, for a call whose caller, or time, has given it up: others may be given up with it. */
  giveUp(call: PendingCall): void;
  /** The call was given up after it was sent: its answer is of no use. */
  abandoned(call: PendingCall): void;
  /** The peer has taken an event. */
  eventTaken(): void;
}

/** The connection that a call is sent over. */
export interface CallLine {
  readonly connection: ConnectionHandle;
  readonly link: Link;
  readonly limits: RapLimits;
  /** How events go to the peer. */
  readonly events: EventMode;
  /** A header with the time that the call has left, if the peer is told that. */
  timed(call: PendingCall, header: Header): Header;
  /** Whether the peer is told the time that the call has left. */
  tellsTime(call: PendingCall): boolean;
  /** The call takes its slot of the peer, under an id. */
  took(call: PendingCall, id: number): void;
  /** The call was sent, after it had its slot. */
  sent(): void;
}

/** What an answer needs of the connection that it came over. */
export interface AnswerHost {
  readonly clock: Clock;
  /** What is kept of the peer costs so much more, or less. */
  charge(cost: number): void;
  /** A call is over. */
  ended(): void;
}

/** A call of this side that waits for its answer. It settles once; whatever comes later is ignored. */
export class PendingCall extends Expiring {
  /** Correlation id; 0 until the call has its slot. */
  id = 0;
  settled = false;
  /** Waits in the queue of its owner. */
  queued = false;

  constructor(
    public request: CallRequest,
    private readonly sink: ReplySink,
    public owner: PendingCallOwner,
  ) {
    super();
  }

  /** Whether the caller waits for no answer of a handler. */
  get isEvent(): boolean {
    return false;
  }

  /** Whether the call may have reached the peer. */
  get wasSent(): boolean {
    return this.id !== 0;
  }

  /** Whether an answer of the peer may come now. */
  get awaitsAnswer(): boolean {
    return true;
  }

  // --- on its way out -----------------------------------------------------------------------------------------

  /** It waits: what is sent later is its body as it is now. @throws {@link Fault} if the body cannot be encoded */
  hold(limits: RapLimits): void {
    this.holds(hold(this.request.body, limits, false));
  }

  protected holds(body: unknown): void {
    if (body !== this.request.body) this.request = { ...this.request, body };
  }

  /** Sends it under an id. What goes wrong goes to the sink. */
  transmit(line: CallLine, id: number): void {
    try {
      line.link.send(MsgType.Msg, id, this.headerFor(line), this.request.body);
    } catch (error) {
      this.reject(error as Fault);
      return;
    }
    line.took(this, id);
  }

  protected headerFor(line: CallLine): Header | EncodedHeader {
    const { header, encodedHeader } = this.request;
    return encodedHeader && !line.tellsTime(this) ? encodedHeader : line.timed(this, header);
  }

  /** Nothing of it was sent, and nothing will be over this connection: it begins anew on another. */
  restart(_reason: Fault): void {
    this.id = 0;
  }

  /** This side closes: whether an event was sent of which the peer has not said that it took it. */
  sentAtClose(): boolean {
    return false;
  }

  // --- its answer ---------------------------------------------------------------------------------------------

  // [101, id, {}, result]
  answer(header: Header, body: unknown, _bytes: number, _cost: number, host: AnswerHost): void {
    const status = header.status_code;
    if (status !== undefined && isErrorStatus(status))
      this.fail(fromErrorFrame(header, body) as Fault, host.clock);
    else this.resolve(body);
    host.ended();
  }

  /** The answer is a stream; false if the caller wanted one value, who is told then. */
  becomeStream(channels: ChannelTable): boolean {
    if (!this.sink.stream) {
      this.reject(channelFault(`${this.request.target} yields several values: use stream(), not call()`));
      return false;
    }
    if (this.#settle()) this.sink.stream(this.newStream(channels));
    return true;
  }

  protected newStream(channels: ChannelTable): Channel {
    return channels.create(this.id, 'open', undefined);
  }

  resolve(body: unknown): void {
    if (!this.#settle()) return;
    this.exit();
    this.sink.resolve(body);
  }

  reject(fault: Fault): void {
    if (!this.#settle()) return;
    this.exit(fault);
    this.sink.reject(fault);
  }

  /** Tells the caller an outcome before the call is over. */
  protected tell(body: unknown): void {
    this.sink.resolve(body);
  }

  /** The peer answers with an error. One that says that the time is over is this side's own, if it is over here, too. */
  protected fail(fault: Fault, clock: Clock): void {
    const isOver = this.request.tellTimeLeft === true && isOwnTimeout(fault, this, clock);
    this.reject(isOver ? callTimeout(this.request, 'response') : fault);
  }

  /** The caller has lost interest: the caller is not told, the peer is. */
  abandon(): void {
    if (!this.#settle(true)) return;
    this.exit(callCancelled(`${this.request.target} was cancelled`));
    if (this.wasSent) this.owner.abandoned(this);
  }

  override expire(): void {
    if (!this.#settle(true)) return;
    const fault = callTimeout(this.request, this.wasSent ? 'response' : 'queue');
    this.exit(fault);
    if (this.wasSent) this.owner.abandoned(this);
    this.sink.reject(fault);
  }

  /** It is over, before its sink hears of it. */
  protected exit(_fault?: Fault): void {
    // the straight path has nobody to tell
  }

  #settle(isGivenUp = false): boolean {
    if (this.settled) return false;
    this.settled = true;
    if (isGivenUp) this.owner.giveUp(this);
    else this.owner.forget(this);
    return true;
  }
}
