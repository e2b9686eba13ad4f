import { EventTarget } from '../../protocol/event.js';
import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import { MsgType, type Header } from '../../protocol/frame.js';
import { heldValue } from '../../protocol/held-body.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../../protocol/life-cycle.js';
import type { Link } from '../../protocol/link.js';
import { isErrorStatus } from '../../protocol/status.js';
import type { Channel } from '../channel/channel.js';
import type { ChannelTable } from '../channel/channel-table.js';
import type { ConnectionHandle } from '../connection/connection-info.js';
import type { CorrelationIds } from '../correlation-ids.js';
import type { RapLimits } from '../limits.js';
import { type CallRequest, type ReplySink, timeLeftHeader, timeLeftOf } from './call-request.js';
import type { OutgoingCalls } from './outgoing-calls.js';
import { type AnswerHost, PendingCall } from './pending-call.js';
import { PendingEvent } from './pending-event.js';

export interface CallingOptions extends AnswerHost {
  readonly connection: ConnectionHandle;
  readonly link: Link;
  readonly ids: CorrelationIds;
  readonly limits: RapLimits;
  readonly calls: OutgoingCalls;
  readonly channels: ChannelTable;
  readonly sendEvent: (target: string, body: unknown) => void;
}

/** Makes the {@link Calling} of each connection of a client. */
export interface CallingPath {
  /** Whether a queued body is kept as a value, and not encoded. */
  readonly holdsValues: boolean;
  open(options: CallingOptions): Calling;
}

/** Without processors. */
export const PLAIN_CALLING: CallingPath = { holdsValues: false, open: (options) => new Calling(options) };

/** Starts the calls, events and channels of a client, and handles the answers. Calls in flight are in `OutgoingCalls`. */
export class Calling {
  /** Answers to calls that have settled, or were never made. */
  lateAnswers = 0;

  constructor(protected readonly options: CallingOptions) {}

  /** Calls the peer. The sink is called exactly once. */
  call(request: CallRequest, sink: ReplySink): PendingCall {
    const { calls } = this.options;
    const call = new PendingCall(request, sink, calls);
    calls.start(call);
    return call;
  }

  // [101, id, {}, result]
  onAnswer(id: number, header: Header, body: unknown, bytes: number, cost: number): void {
    const call = this.options.calls.get(id);
    if (call?.awaitsAnswer) call.answer(header, body, bytes, cost, this.options);
    else this.lateAnswers += 1;
  }

  /**
   * A channel frame: under the id of a call, it is the beginning of a stream that answers the call. Returns true if the
   * frame was handled.
   */
  onStreamReply(id: number, header: Header, body: unknown, bytes: number, cost: number): boolean {
    const { connection, calls, channels, link } = this.options;
    const call = calls.get(id);
    if (!call?.awaitsAnswer || !connection.has(Extension.StreamReply)) return false;
    if (isErrorStatus(header.status_code)) {
      // the stream failed before it began: that is the answer
      this.onAnswer(id, header, body, bytes, cost);
      return true;
    }
    if (call.becomeStream(channels)) return false;
    // the caller wanted one value; a stream that is closed already needs no DROP
    if (header.channel_life_cycle === LifeCycle.Drop) return true;
    channels.reject(id);
    link.send(MsgType.Channel, id, LIFE_CYCLE_HEADER.DROP, null);
    return true;
  }

  /** The answer to a call cannot be decoded: fails the call. False if there is no such call. */
  onUnreadable(type: MsgType, id: number, fault: Fault): boolean {
    const { calls, channels, link } = this.options;
    const call = calls.get(id);
    if (!call) return false;
    call.reject(fault);
    if (type === MsgType.Channel) {
      channels.reject(id);
      link.send(type, id, LIFE_CYCLE_HEADER.DROP, null);
    }
    this.options.ended();
    return true;
  }

  /** A call was cancelled or timed out after it was sent. */
  onAbandoned({ id, isEvent }: PendingCall): void {
    const { connection, channels, sendEvent, ended } = this.options;
    if (connection.isClosed) return;
    if (connection.has(Extension.Cancel) && !isEvent) {
      channels.reject(id); // the server may have answered with a stream meanwhile
      sendEvent(EventTarget.Cancel, { id });
    }
    ended();
  }

  /** Sends an event. It waits for a slot as a call does, and so never overtakes one. */
  emit(request: CallRequest): Promise<void> {
    return new Promise((resolve, reject) => {
      this.startEvent(request, { resolve: () => resolve(), reject });
    });
  }

  /** The same with a sink, called when the peer has accepted the event; when it was sent, if the peer does not confirm. */
  startEvent(request: CallRequest, sink: ReplySink): PendingCall {
    const { calls } = this.options;
    const event = new PendingEvent(request, sink, calls);
    calls.start(event);
    return event;
  }

  /** Opens a channel that is usable at once: writes wait until they can be sent. */
  openChannel(request: CallRequest): Channel {
    const { channels, calls, ids } = this.options;
    calls.assertOpen();
    const id = ids.next();
    this.declare(id, this.declareHeader(request), request.body);
    return channels.create(id, 'declaring', heldValue(request.body));
  }

  /** The caller's header, with the deadline if it is sent. */
  protected declareHeader({ header, tellTimeLeft, ...request }: CallRequest): Header {
    const isTold = tellTimeLeft && this.options.connection.has(Extension.Deadline);
    return isTold ? timeLeftHeader(header, timeLeftOf({ header, ...request })) : header;
  }

  // [102, id, {channel_life_cycle: DECLARE, target}, metadata]
  protected declare(id: number, header: Header, metadata: unknown): void {
    const declare = { ...header, channel_life_cycle: LifeCycle.Declare };
    this.options.link.send(MsgType.Channel, id, declare, metadata ?? {});
  }

  /** The connection is closed. */
  failAll(_unsent: Fault): void {
    // the tables fail calls and channels
  }
}
