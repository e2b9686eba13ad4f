import { EventTarget } from '../../protocol/event.js';
import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import { MsgType, type Header } from '../../protocol/frame.js';
import { heldValue } from '../../protocol/held-body.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../../protocol/life-cycle.js';
import type { Link } from '../../protocol/link.js';
import { isErrorStatus } from '../../protocol/status.js';
import { fromErrorFrame } from '../../protocol/wire-error.js';
import type { Channel } from '../channel/channel.js';
import type { CorrelationIds } from '../correlation-ids.js';
import type { Peer } from '../connection/peer.js';
import { type CallRequest, type PendingCall, timeLeftHeader } from './pending-call.js';
import { PendingEvents } from '../../pipeline/pending-events.js';
import type { MessageKind } from '../../pipeline/api.js';
import { afterwards, type Exchange } from '../../pipeline/exchange.js';
import { ProcessedFlow, processedFlow } from '../../pipeline/processed-channel.js';

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
  onAnswer(id: number, header: Header, body: unknown, bytes: number, cost: number): void {
    const { peer, ended } = this.options;
    const call = peer.calls.get(id);
    if (!call || call.isProcessed) {
      this.lateAnswers += 1;
      return;
    }
    if (call.exchange) {
      peer.charge(cost); // while processors work on it
      return call.processAnswer([header, body, bytes], peer.clock, () => {
        peer.charge(-cost);
        ended();
      });
    }
    const status = header.status_code;
    if (status !== undefined && isErrorStatus(status))
      call.fail(fromErrorFrame(header, body) as Fault, peer.clock);
    else call.resolve(body);
    ended();
  }

  /**
   * A frame of a channel came: where its id is that of a call, the server answers with a stream, if it may. True if
   * nothing is left to do with the frame.
   */
  onStreamReply(id: number, header: Header, body: unknown, bytes: number, cost: number): boolean {
    const { peer, link } = this.options;
    const call = peer.calls.get(id);
    if (!call || call.isProcessed || !peer.has(Extension.StreamReply)) return false;
    if (isErrorStatus(header.status_code)) {
      // the stream has failed before it began: that is the answer
      this.onAnswer(id, header, body, bytes, cost);
      return true;
    }
    if (call.becomeStream(() => peer.channels.create(id, 'open', undefined, processedFlow(call.exchange))))
      return false;
    // the caller wanted one value; a stream that is over need not be ended
    if (header.channel_life_cycle === LifeCycle.Drop) return true;
    peer.channels.reject(id);
    link.send(MsgType.Channel, id, LIFE_CYCLE_HEADER.DROP, null);
    return true;
  }

  /** The owner gave a call up after it was sent. */
  onAbandoned({ id, isEvent }: PendingCall): void {
    const { peer, sendEvent, ended } = this.options;
    if (peer.state === 'closed') return;
    if (peer.has(Extension.Cancel) && !isEvent) {
      peer.channels.reject(id); // the server may be turning it into a stream just now
      sendEvent(EventTarget.Cancel, { id });
    }
    ended();
  }

  /** An event. It waits for a slot as a call does, and so never overtakes one. */
  emit(request: CallRequest): Promise<void> {
    const { ids, exchange } = this.options;
    if (!exchange) return this.#send(request);
    return this.#emitProcessed(request, exchange('event', request.target, ids.next()));
  }

  /** A channel that is usable at once: what it cannot send yet waits. */
  openChannel({
    target,
    header,
    body: metadata,
    timeoutMs,
    leftMs = timeoutMs,
    tellTimeLeft,
  }: CallRequest): Channel {
    const { peer, link, ids } = this.options;
    peer.calls.assertOpen();
    const id = ids.next();
    const timed = tellTimeLeft && peer.has(Extension.Deadline) ? timeLeftHeader(header, leftMs) : header;
    const declare = (head: Header, body: unknown): number =>
      link.send(MsgType.Channel, id, { ...head, channel_life_cycle: LifeCycle.Declare }, body ?? {});
    if (!this.options.exchange) {
      declare(timed, metadata);
      return peer.channels.create(id, 'declaring', heldValue(metadata));
    }
    const exchange = this.options.exchange('channel', target, id);
    const view = exchange.outgoing(LifeCycle.Declare, timed, metadata);
    const flow = new ProcessedFlow(exchange);
    const channel = peer.channels.create(id, 'declaring', heldValue(metadata), flow);
    flow.open(view, () => {
      peer.calls.assertOpen();
      declare(view.outcome as Header, view.body);
    });
    return channel;
  }

  #send(request: CallRequest, exchange?: Exchange): Promise<void> {
    return new Promise((resolve, reject) => {
      let failed: Fault | undefined;
      const refuse = (fault: Fault): void => reject((failed = fault));
      this.options.peer.calls.emit(request, { resolve: () => resolve(), reject: refuse });
      // processors have done their work when it is handed over
      exchange?.exit(failed);
    });
  }

  async #emitProcessed(request: CallRequest, exchange: Exchange): Promise<void> {
    const view = exchange.outgoing(undefined, request.header, request.body);
    let isOver = false;
    let sent: Promise<void> | undefined;
    const work = afterwards(
      () => exchange.begin(view),
      () => {
        if (isOver) return;
        sent = this.#send({ ...request, header: view.outcome as Header, body: view.body }, exchange);
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
    if (work) await this.#pendingEvents.wait(work, request, giveUp);
    await sent; // by now it is, unless the work was given up
  }
}
