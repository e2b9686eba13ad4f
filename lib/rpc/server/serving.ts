/* oxlint-disable typescript/unbound-method -- a function that runs in a context is called on its object */
import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import { CloseReason } from '../../protocol/event.js';
import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import { type Frame, MsgType, type Header } from '../../protocol/frame.js';
import { LifeCycle } from '../../protocol/life-cycle.js';
import type { Link } from '../../protocol/link.js';
import { isErrorStatus } from '../../protocol/status.js';
import { toErrorFrame } from '../../protocol/wire-error.js';
import type { CleanContext } from '../context/async-context.js';
import type { Channel } from '../channel/channel.js';
import { EventReceipts } from './event-receipts.js';
import { type Incoming, tooMany } from './incoming.js';
import { IncomingCall } from './incoming-call.js';
import { IncomingChannel } from './incoming-channel.js';
import type { Peer } from '../connection/peer.js';
import type { PeerOwner } from '../connection/peer-options.js';
import type { MessageKind } from '../../pipeline/api.js';
import { afterwards, type Exchange } from '../../pipeline/exchange.js';
import { ProcessedFlow, processedFlow } from '../../pipeline/processed-channel.js';
import type { SendWatch } from './slow-reader-guard.js';
import { WaitingAnswers } from './waiting-answers.js';

export interface ServingOptions {
  readonly peer: Peer;
  readonly owner: PeerOwner;
  readonly link: Link;
  readonly sendWatch: SendWatch;
  /** Sends a frame and returns its size. */
  readonly send: (type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown) => number;
  /** Begins the way of a call or channel through the processors, where there are any. */
  readonly exchange: ((kind: MessageKind, target: string, id: number) => Exchange) | undefined;
  /** A handler has ended. */
  readonly ended: () => void;
  /** Where the work of each call and channel begins: nothing that another one left in its async context is there. */
  readonly context: CleanContext;
}

/**
 * The server's half of a connection: calls and channels that come in, on their way to the owner's handlers, and what
 * these answer. `onCall`, the handler, `answer`, `ended` is the whole way of a call.
 */
export class Serving {
  readonly #receipts: EventReceipts;
  readonly #waiting = new WaitingAnswers();

  constructor(private readonly options: ServingOptions) {
    this.#receipts = new EventReceipts(options);
  }

  // [101, id, {target}, parameters], answered [101, id, {}, result]
  onCall(id: number, header: Header, body: unknown, bytes: number, cost: number): void {
    const { peer, owner, exchange, context } = this.options;
    if (isErrorStatus(header.status_code)) return; // an answer to nothing; answering it would go on for ever
    if (peer.incoming.has(id)) return this.#inUse(id);
    const oneWay = header.one_way === true && peer.has(Extension.OneWay);
    const call = new IncomingCall(peer, id, header, body, oneWay);
    call.bytes = bytes;
    call.cost = cost;
    if (!peer.incoming.add(call)) return this.#refuse(call, 'Too many calls in flight');
    call.joinSession();
    if (oneWay && !exchange) this.#receipts.taken(call);
    if (exchange) context.run(this.#process, this, call);
    else context.run(owner.onCall, owner, call);
  }

  // [102, id, {channel_life_cycle: DECLARE, target}, metadata], answered [102, id, {channel_life_cycle: DECLARE}, nil]
  onDeclare(id: number, header: Header, metadata: unknown, bytes: number, cost: number): void {
    const { peer, owner, exchange, context } = this.options;
    if (peer.incoming.has(id)) return this.#inUse(id);
    const incoming = new IncomingChannel(peer, header, peer.channels.create(id, 'open', metadata));
    incoming.cost = cost;
    if (!peer.incoming.add(incoming)) return this.#refuse(incoming, 'Too many channels');
    incoming.joinSession();
    if (exchange) context.run(this.#processChannel, this, { incoming, bytes });
    else context.run(owner.onChannel, owner, incoming);
  }

  /** A call or DECLARE whose body is no value: nothing runs. */
  onUnreadable([type, id, header]: Frame, fault: Fault): void {
    const { peer, send } = this.options;
    if (peer.incoming.has(id)) return this.#inUse(id);
    const isCall = type === MsgType.Msg;
    const isOneWay = isCall && header.one_way === true && peer.has(Extension.OneWay);
    if (isOneWay && !peer.has(Extension.EventAnswer)) return;
    const { header: head, body } = toErrorFrame(fault);
    send(type, id, isCall ? head : { ...head, channel_life_cycle: LifeCycle.Drop }, body);
  }

  /** An honest client does not meet this: ids go round in 2^31. */
  #inUse(id: number): void {
    this.options.peer.protocolError(`correlation id ${id} is in use`);
  }

  /** The client gives a call up. A channel is left by DROP. */
  onCancel(id: unknown): void {
    const incoming = typeof id === 'number' ? this.options.peer.incoming.get(id) : undefined;
    if (incoming instanceof IncomingCall) incoming.cancelByPeer();
  }

  // --- answers ------------------------------------------------------------------------------------------------

  /** Sends the answer of a call; one that cannot be encoded becomes an error. */
  answer(call: IncomingCall, header: Header | null, body: unknown): void {
    if (call.oneWay) return;
    const { sendWatch } = this.options;
    if (sendWatch.isPaused && sendWatch.isFull) this.#waiting.add({ call, header, body });
    else this.#send(call, header, body);
  }

  #send(call: IncomingCall, header: Header | null, body: unknown): void {
    try {
      this.options.link.send(MsgType.Msg, call.id, header, body);
      this.options.sendWatch.answered();
    } catch (error) {
      this.answerError(call, error as Fault);
    }
  }

  /** What was unsent has been taken. Whether no answer waits any more: then requests may be read again. */
  onDrain(): boolean {
    if (this.#waiting.size === 0) return true;
    const { sendWatch } = this.options;
    this.#waiting.flush(
      () => !sendWatch.isFull,
      ({ call, header, body }) => this.#send(call, header, body),
    );
    return this.#waiting.size === 0;
  }

  /** Sends the error of a call. */
  answerError(call: IncomingCall, fault: Fault, name?: string, more: Header | null = null): void {
    if (call.oneWay) return;
    const { header, body } = toErrorFrame(fault, name);
    this.options.send(MsgType.Msg, call.id, more ? { ...more, ...header } : header, body);
  }

  /** Says that a channel is open. */
  accept({ id, flow, exchange }: IncomingChannel): void {
    const header: Header = { channel_life_cycle: LifeCycle.Declare };
    if (!exchange || !flow) {
      this.options.send(MsgType.Channel, id, header, null);
      return;
    }
    try {
      flow.open(exchange.message(LifeCycle.Declare, header, null), (view) =>
        this.options.send(MsgType.Channel, id, view.outcome, view.body),
      );
    } catch {
      // the channel has ended with it
    }
  }

  /** Turns a call into a stream under its id, where the peer knows that. */
  turnIntoStream({ id, oneWay, exchange }: IncomingCall): Channel | undefined {
    const { peer } = this.options;
    if (oneWay || !peer.has(Extension.StreamReply)) return undefined;
    return peer.channels.create(id, 'open', undefined, processedFlow(exchange));
  }

  /** A call or channel is over for the peer. */
  settled({ startedAt }: Incoming, wasted: boolean): void {
    const { peer } = this.options;
    if (peer.state === 'closed' || peer.incoming.settled(startedAt, wasted)) return;
    peer.close(CloseReason.ExcessiveResets);
  }

  /** The handler of a call or channel has ended. */
  ended(incoming: Incoming): void {
    if (incoming instanceof IncomingChannel) incoming.channel.letGo();
    this.options.peer.incoming.remove(incoming);
    if (incoming.isTaken) this.#receipts.ended();
    this.options.ended();
  }

  /** The connection is over. */
  stop(): void {
    this.#waiting.clear();
    this.#receipts.stop();
  }

  // --- processors ---------------------------------------------------------------------------------------------

  /** A call goes through the processors first. One without a target is nobody's. */
  #process(call: IncomingCall): void {
    const { owner, exchange: open } = this.options;
    const { id, header, body, bytes, oneWay } = call;
    if (!open || typeof header.target !== 'string') return owner.onCall(call);
    if (owner.onArrival?.(call) === false) return;
    const exchange = open(oneWay ? 'event' : 'call', header.target, id);
    const view = exchange.message(undefined, header, body, bytes);
    call.exchange = exchange;
    void afterwards(
      () => exchange.begin(view),
      () => {
        if (call.settled) return call.ended();
        call.accept(view);
        if (oneWay) this.#receipts.taken(call);
        owner.onCall(call);
      },
      (error) => this.#processingFailed(call, error),
    );
  }

  /** A channel's DECLARE goes through the processors first; what follows it waits. */
  #processChannel({ incoming, bytes }: { incoming: IncomingChannel; bytes: number }): void {
    const { owner, exchange: open } = this.options;
    const { id, header, channel } = incoming;
    if (!open || typeof header.target !== 'string') return owner.onChannel(incoming);
    if (owner.onArrival?.(incoming) === false) return;
    const exchange = open('channel', header.target, id);
    incoming.exchange = exchange;
    const flow = new ProcessedFlow(exchange);
    incoming.flow = flow;
    channel.goThrough(flow);
    flow.opened(exchange.message(LifeCycle.Declare, header, channel.metadata, bytes), {
      done: (view) => {
        if (incoming.settled) return incoming.ended();
        incoming.accept(view);
        owner.onChannel(incoming);
      },
      failed: (error) => this.#processingFailed(incoming, error),
    });
  }

  #processingFailed(incoming: Incoming, error: unknown): void {
    if (!incoming.settled && incoming.exchange) {
      const { fault, name } = incoming.exchange.faultOf(error);
      this.#fail(incoming, fault, name);
    }
    incoming.ended();
  }

  #refuse(incoming: Incoming, message: string): void {
    this.#fail(incoming, tooMany(message), 'TooManyRequestsError');
    incoming.ended();
  }

  /** Ends what has not come to a handler. */
  #fail(incoming: Incoming, fault: Fault, name: string): void {
    if (incoming instanceof IncomingCall && incoming.oneWay) this.#receipts.refused(incoming, fault, name);
    incoming.fail(fault, name);
  }
}
