import { EventTarget } from '../protocol/event.js';
import { Extension } from '../protocol/extension.js';
import type { Fault } from '../protocol/fault.js';
import { MsgType, type Header } from '../protocol/frame.js';
import { heldValue } from '../protocol/held-body.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../protocol/life-cycle.js';
import type { Link } from '../protocol/link.js';
import { isErrorStatus } from '../protocol/status.js';
import { fromErrorFrame } from '../protocol/wire-error.js';
import type { Channel } from './channel.js';
import type { CorrelationIds } from './correlation-ids.js';
import type { Peer } from './peer.js';
import { type CallRequest, type PendingCall, type ReplySink, timeLeftHeader } from './pending-call.js';
import { PendingEvents } from './pending-events.js';
import type { MessageKind } from './pipeline.js';
import { afterwards, type Exchange } from './processors.js';

export interface CallingOptions {
  readonly peer: Peer;
  readonly link: Link;
  readonly ids: CorrelationIds;
  /** Begins the way of a call or channel through the processors, where there are any. */
  readonly exchange: ((kind: MessageKind, target: string, id: number) => Exchange) | undefined;
  readonly sendEvent: (target: string, body: unknown) => void;
  /** A call is over. */
  readonly ended: () => void;
}

/**
 * The client's half of a connection: what its owner calls, emits and opens, and the answers to it. The calls themselves
 * are in `OutgoingCalls`.
 */
export class Calling {
  /** Answers to calls that nobody waits for any more, or that were never made. */
  lateAnswers = 0;

  readonly #pendingEvents: PendingEvents;

  constructor(private readonly options: CallingOptions) {
    this.#pendingEvents = new PendingEvents(options.peer.clock);
  }

  /** Nothing more is sent: events that processors still work on fail. */
  failAll(fault: Fault): void {
    this.#pendingEvents.failAll(fault);
  }

  // [101, id, {}, result]
  onAnswer(id: number, header: Header, body: unknown, bytes: number): void {
    const { peer, ended } = this.options;
    const call = peer.calls.get(id);
    if (!call || call.isProcessed) {
      this.lateAnswers += 1;
      return;
    }
    if (call.exchange) return call.processAnswer([header, body, bytes], peer.clock, ended);
    const status = header.status_code;
    if (status !== undefined && isErrorStatus(status))
      call.fail(fromErrorFrame(header, body) as Fault, peer.clock);
    else call.resolve(body);
    ended();
  }

  /** A frame of a channel came under the id of a call: the server answers it with a stream, where it may. */
  onStreamReply(id: number): void {
    const { peer, link } = this.options;
    const call = peer.calls.get(id);
    if (!call || call.isProcessed || !peer.has(Extension.StreamReply)) return;
    if (call.becomeStream(() => peer.channels.create(id, 'open', undefined, call.exchange))) return;
    // the caller wanted one value
    peer.channels.reject(id);
    link.send(MsgType.Channel, id, LIFE_CYCLE_HEADER.DROP, null);
  }

  /** The owner gave a call up after it was sent. */
  onAbandoned({ id }: PendingCall): void {
    const { peer, sendEvent, ended } = this.options;
    if (peer.state === 'closed') return;
    if (peer.has(Extension.Cancel)) {
      peer.channels.reject(id); // the server may be turning it into a stream just now
      sendEvent(EventTarget.Cancel, { id });
    }
    ended();
  }

  /** An event: a call without an answer where the peer knows such, else a call whose answer is dropped. */
  emit(request: CallRequest, header: Header): void | Promise<void> {
    const { peer, ids, exchange } = this.options;
    peer.calls.assertOpen();
    const id = ids.next();
    if (!exchange) return this.#sendOneWay(request, header, id);
    return this.#emitProcessed(request, header, exchange('event', request.target, id));
  }

  /** A channel that is usable at once: what it cannot send yet waits. */
  openChannel({ target, header, body: metadata, timeoutMs, tellTimeLeft }: CallRequest): Channel {
    const { peer, link, ids } = this.options;
    peer.calls.assertOpen();
    const id = ids.next();
    const timed = tellTimeLeft && peer.has(Extension.Deadline) ? timeLeftHeader(header, timeoutMs) : header;
    const declare = (head: Header, body: unknown): number =>
      link.send(MsgType.Channel, id, { ...head, channel_life_cycle: LifeCycle.Declare }, body ?? {});
    if (!this.options.exchange) {
      declare(timed, metadata);
      return peer.channels.create(id, 'declaring', heldValue(metadata));
    }
    const exchange = this.options.exchange('channel', target, id);
    const view = exchange.outgoing(LifeCycle.Declare, timed, metadata);
    const channel = peer.channels.create(id, 'declaring', heldValue(metadata), exchange);
    channel.open(view, () => {
      peer.calls.assertOpen();
      declare(view.outcome as Header, view.body);
    });
    return channel;
  }

  #sendOneWay(request: CallRequest, header: Header, id: number): void {
    const { peer, link } = this.options;
    if (peer.has(Extension.OneWay)) {
      link.send(MsgType.Msg, id, { ...header, one_way: true }, request.body);
    } else peer.calls.start({ ...request, header, encodedHeader: undefined }, IGNORE_REPLY, true);
  }

  #emitProcessed(request: CallRequest, header: Header, exchange: Exchange): void | Promise<void> {
    const { peer } = this.options;
    const view = exchange.outgoing(undefined, header, request.body);
    let isOver = false;
    const work = afterwards(
      () => exchange.begin(view),
      () => {
        if (isOver) return;
        try {
          peer.calls.assertOpen();
          this.#sendOneWay({ ...request, body: view.body }, view.outcome as Header, view.id);
        } catch (error) {
          exchange.exit(error);
          throw error;
        }
        exchange.exit();
      },
      (error) => {
        const { fault } = exchange.faultOf(error);
        exchange.exit(fault);
        throw fault;
      },
    );
    const giveUp = (reason: Fault): void => {
      isOver = true;
      exchange.exit(reason);
    };
    return work && this.#pendingEvents.wait(work, request, giveUp);
  }
}

const IGNORE_REPLY: ReplySink = { resolve: () => {}, reject: () => {} };
