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

/** The table or queue of a pending call. */
export interface PendingCallOwner {
  forget(call: PendingCall): void;
  /** As `forget`, for a call that was cancelled or timed out: others may follow in the same turn. */
  giveUp(call: PendingCall): void;
  /** The call was cancelled or timed out after it was sent. */
  abandoned(call: PendingCall): void;
  /** The peer has accepted an event. */
  eventTaken(): void;
}

/** The connection of a call. */
export interface CallLine {
  readonly connection: ConnectionHandle;
  readonly link: Link;
  readonly limits: RapLimits;
  readonly events: EventMode;
  /** A header with the call's deadline, if it is sent. */
  withDeadline(call: PendingCall, header: Header): Header;
  /** Whether the deadline of the call is sent. */
  sendsDeadline(call: PendingCall): boolean;
  /** The call takes a slot, under an id. */
  took(call: PendingCall, id: number): void;
  /** The call was sent some time after it took its slot. */
  sent(): void;
}

/** What an answer needs from its connection. */
export interface AnswerHost {
  readonly clock: Clock;
  /** Charges the connection's account; a negative cost releases. */
  readonly charge: (cost: number) => void;
  /** A call has ended: a connection that drains may be closed. */
  readonly ended: () => void;
}

/** A call of this side, queued or in flight. It settles once; later outcomes are ignored. */
export class PendingCall extends Expiring {
  /** Correlation id; 0 until the call has a slot. */
  id = 0;
  settled = false;
  /** In the queue of its owner. */
  queued = false;

  constructor(
    public request: CallRequest,
    private readonly sink: ReplySink,
    public owner: PendingCallOwner,
  ) {
    super();
  }

  get isEvent(): boolean {
    return false;
  }

  /** Whether the call may have reached the peer. */
  get wasSent(): boolean {
    return this.id !== 0;
  }

  /** Whether an answer may come now. */
  get awaitsAnswer(): boolean {
    return true;
  }

  // --- sending ------------------------------------------------------------------------------------------------

  /** Takes a snapshot of the body, for the queue. @throws {@link Fault} if it cannot be encoded */
  hold(limits: RapLimits): void {
    this.holds(hold(this.request.body, limits, false));
  }

  protected holds(body: unknown): void {
    if (body !== this.request.body) this.request = { ...this.request, body };
  }

  /** Sends it. Errors go to the sink. */
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
    return encodedHeader && !line.sendsDeadline(this) ? encodedHeader : line.withDeadline(this, header);
  }

  /** It was not sent on this connection, and starts again on another. */
  restart(_reason: Fault): void {
    this.id = 0;
  }

  /** This side closes. Returns whether this is an event that was sent and is not confirmed. */
  sentAtClose(): boolean {
    return false;
  }

  // --- settling -----------------------------------------------------------------------------------------------

  // [101, id, {}, result]
  answer(header: Header, body: unknown, _bytes: number, _cost: number, host: AnswerHost): void {
    const status = header.status_code;
    if (status !== undefined && isErrorStatus(status))
      this.fail(fromErrorFrame(header, body) as Fault, host.clock);
    else this.resolve(body, header);
    host.ended();
  }

  /** The answer is a stream. If the caller wanted one value, fails the call and returns false. */
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

  resolve(body: unknown, header?: Header | null): void {
    if (!this.#settle()) return;
    this.exit();
    this.sink.resolve(body, header);
  }

  reject(fault: Fault): void {
    if (!this.#settle()) return;
    this.exit(fault);
    this.sink.reject(fault);
  }

  /** Resolves the sink before the call has settled. */
  protected tell(body: unknown): void {
    this.sink.resolve(body);
  }

  /** The peer answered with an error. A timeout of the peer is reported as this side's own, if the deadline has passed here, too. */
  protected fail(fault: Fault, clock: Clock): void {
    const isOver = this.request.tellTimeLeft === true && isOwnTimeout(fault, this, clock);
    this.reject(isOver ? callTimeout(this.request, 'response') : fault);
  }

  /** The caller cancelled: tells the peer, not the sink. */
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

  /** Called when it has settled, before its sink. */
  protected exit(_fault?: Fault): void {
    // for subclasses
  }

  #settle(isGivenUp = false): boolean {
    if (this.settled) return false;
    this.settled = true;
    if (isGivenUp) this.owner.giveUp(this);
    else this.owner.forget(this);
    return true;
  }
}
