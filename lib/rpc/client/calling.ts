import type { Clock } from '../../protocol/clock.js';
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

export interface CallingOptions {
  readonly connection: ConnectionHandle;
  readonly link: Link;
  readonly ids: CorrelationIds;
  readonly clock: Clock;
  readonly limits: RapLimits;
  readonly calls: OutgoingCalls;
  readonly channels: ChannelTable;
  readonly sendEvent: (target: string, body: unknown) => void;
  /** What is kept of the peer costs so much more, or less. */
  readonly charge: (cost: number) => void;
  /** A call is over. */
  readonly ended: () => void;
}

/** The way of calls over the connections of a client: chosen once. */
export interface CallingPath {
  /** Whether a body that waits is kept as a value, and not encoded. */
  readonly holdsValues: boolean;
  open(options: CallingOptions): Calling;
}

/** Straight to the connection. */
export const PLAIN_CALLING: CallingPath = { holdsValues: false, open: (options) => new Calling(options) };

/** What a client calls, emits and opens, and the answers to it. The calls themselves are in `OutgoingCalls`. */
export class Calling implements AnswerHost {
  /** Answers to calls that nobody waits for any more, or that were never made. */
  lateAnswers = 0;
  readonly clock: Clock;

  constructor(protected readonly options: CallingOptions) {
    this.clock = options.clock;
  }

  /** Calls the peer. The sink hears of it exactly once. */
  call(request: CallRequest, sink: ReplySink): PendingCall {
    const { calls } = this.options;
    const call = new PendingCall(request, sink, calls);
    calls.start(call);
    return call;
  }

  // [101, id, {}, result]
  onAnswer(id: number, header: Header, body: unknown, bytes: number, cost: number): void {
    const call = this.options.calls.get(id);
    if (call?.awaitsAnswer) call.answer(header, body, bytes, cost, this);
    else this.lateAnswers += 1;
  }

  charge(cost: number): void {
    this.options.charge(cost);
  }

  ended(): void {
    this.options.ended();
  }

  /**
   * A frame of a channel came: if its id is that of a call, the server answers with a stream, if it may. True if nothing is
   * left to do with the frame.
   */
  onStreamReply(id: number, header: Header, body: unknown, bytes: number, cost: number): boolean {
    const { connection, calls, channels, link } = this.options;
    const call = calls.get(id);
    if (!call?.awaitsAnswer || !connection.has(Extension.StreamReply)) return false;
    if (isErrorStatus(header.status_code)) {
      // the stream has failed before it began: that is the answer
      this.onAnswer(id, header, body, bytes, cost);
      return true;
    }
    if (call.becomeStream(channels)) return false;
    // the caller wanted one value; a stream that is over need not be ended
    if (header.channel_life_cycle === LifeCycle.Drop) return true;
    channels.reject(id);
    link.send(MsgType.Channel, id, LIFE_CYCLE_HEADER.DROP, null);
    return true;
  }

  /** The answer to a call cannot be read, and fails it. False if there is no such call. */
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

  /** The owner gave a call up after it was sent. */
  onAbandoned({ id, isEvent }: PendingCall): void {
    const { connection, channels, sendEvent, ended } = this.options;
    if (connection.isClosed) return;
    if (connection.has(Extension.Cancel) && !isEvent) {
      channels.reject(id); // the server may be turning it into a stream just now
      sendEvent(EventTarget.Cancel, { id });
    }
    ended();
  }

  /** An event. It waits for a slot as a call does, and so never overtakes one. */
  emit(request: CallRequest): Promise<void> {
    return new Promise((resolve, reject) => {
      this.startEvent(request, { resolve: () => resolve(), reject });
    });
  }

  /** The same for a sink, which hears when the peer has taken it; when it was sent, if the peer does not tell. */
  startEvent(request: CallRequest, sink: ReplySink): PendingCall {
    const { calls } = this.options;
    const event = new PendingEvent(request, sink, calls);
    calls.start(event);
    return event;
  }

  /** A channel that is usable at once: what it cannot send yet waits. */
  openChannel(request: CallRequest): Channel {
    const { channels, calls, ids } = this.options;
    calls.assertOpen();
    const id = ids.next();
    this.declare(id, this.declareHeader(request), request.body);
    return channels.create(id, 'declaring', heldValue(request.body));
  }

  /** The caller's header, with the time that is left if the peer is to know it. */
  protected declareHeader({ header, tellTimeLeft, ...request }: CallRequest): Header {
    const isTold = tellTimeLeft && this.options.connection.has(Extension.Deadline);
    return isTold ? timeLeftHeader(header, timeLeftOf({ header, ...request })) : header;
  }

  // [102, id, {channel_life_cycle: DECLARE, target}, metadata]
  protected declare(id: number, header: Header, metadata: unknown): void {
    const declare = { ...header, channel_life_cycle: LifeCycle.Declare };
    this.options.link.send(MsgType.Channel, id, declare, metadata ?? {});
  }

  /** Nothing more is sent. */
  failAll(_unsent: Fault): void {
    // calls and channels fail in their tables
  }
}
