import { Extension } from '../../protocol/extension.js';
import { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { Status } from '../../protocol/status.js';
import { type NamedFault, nameOf } from '../../protocol/wire-error.js';
import type { Channel } from '../channel/channel.js';
import { Incoming } from './incoming.js';
import type { MessageView } from '../../pipeline/message-view.js';
import { callTimeIsOver, channelTimeIsOver } from '../time/own-timeout.js';
import type { Peer } from '../connection/peer.js';
import { afterwards, type Exchange } from '../../pipeline/exchange.js';

/** Time that the answer of a call which has run out of its own has in the processors, in milliseconds. */
const LAST_ANSWER_MS = 1000;

/** A unary call of the peer, or an event. It is answered at most once. */
export class IncomingCall extends Incoming {
  /** The stream that the call was turned into. */
  stream: Channel | undefined;
  /** Its time was asked for, by the handler or the caller, and holds for a stream, too. */
  keepsLimit = false;
  /** Size on the wire. */
  bytes = 0;
  /** Its answer waits until less is unsent. */
  isLeaving = false;

  /** Processors work on the answer just now. */
  #answering = false;
  /** The handler has ended while they did. */
  #hasEnded = false;
  /** They have let the call through to the handler. */
  #isHandled = false;

  constructor(
    peer: Peer,
    id: number,
    header: Header,
    public body: unknown,
    /** An event: the peer expects no answer. */
    readonly oneWay: boolean,
  ) {
    super(peer, id, header);
  }

  /** Whether the caller takes a stream as well as one value. */
  get acceptsStream(): boolean {
    return this.header.accept_stream === true && this.peer.has(Extension.AcceptStream);
  }

  /** Answers with a value. A second answer, or one that nobody waits for, is dropped. */
  reply(body: unknown, header: Header | null = null): void {
    if (this.exchange) this.#answer(this.exchange, header, body);
    else if (this.settle()) this.peer.serving.answer(this, header, body);
  }

  override fail(fault: Fault, name: string): void {
    if (!this.leavesStream()) this.stream?.close(fault, name);
    else if (this.exchange) this.#answer(this.exchange, null, undefined, { fault, name });
    else if (this.settle()) this.peer.serving.answerError(this, fault, name);
  }

  override accept(message: MessageView): void {
    super.accept(message);
    this.#isHandled = true;
    this.body = message.body;
  }

  /** Its slot is free when the answer has left, too. */
  override ended(): void {
    this.#hasEnded = true;
    if (!this.#answering && !this.isLeaving) super.ended();
  }

  /** The answer that had to wait has left, or is lost with its connection. */
  hasLeft(): void {
    this.isLeaving = false;
    if (this.#hasEnded) this.ended();
  }

  override abort(reason: Fault): void {
    super.abort(reason);
    if (!this.stream) this.exchange?.inScope((it) => this.exchange?.exit(it), reason);
  }

  /** The answer goes through the processors. Until it has left, the call can still run out of time, or be cancelled. */
  #answer(exchange: Exchange, header: Header | null, body: unknown, error?: NamedFault): void {
    if (this.settled || this.#answering) return;
    if (this.oneWay) return this.#leave(exchange, header, body, error);
    const view = answerView(exchange, header, body);
    if (error) view.fail(error);
    this.#answering = true;
    const leave = (): void => {
      this.#answering = false;
      this.#leave(exchange, view.outcome, view.body, exchange.faultIn(view));
      if (this.#hasEnded) this.ended();
    };
    void afterwards(() => exchange.response(view), leave, leave);
  }

  #leave(exchange: Exchange, header: Header | null, body: unknown, error: NamedFault | undefined): void {
    if (!this.settle()) return;
    if (error) this.peer.serving.answerError(this, error.fault, error.name, header);
    else this.peer.serving.answer(this, header, body);
    exchange.exit(error?.fault);
  }

  /**
   * Answers with a stream: channel messages under the call's id. `undefined` where the peer does not know such answers,
   * or nobody waits any more.
   */
  turnIntoStream(): Channel | undefined {
    if (this.settled || this.stream) return this.stream;
    const channel = this.peer.serving.turnIntoStream(this);
    if (!channel) return undefined;
    this.stream = channel;
    // the run timeout is for answers; a stream lasts as long as both sides want, unless one of them said otherwise
    if (!this.keepsLimit) this.peer.deadlines.remove(this);
    channel.whenClosed(() => {
      if (channel.fault) this.abort(channel.fault);
      else if (channel.closedByPeer) this.abort(cancelled());
    });
    return channel;
  }

  /** The caller gave up. */
  cancelByPeer(): void {
    if (this.stream) this.stream.peerGone(undefined);
    else this.abort(cancelled());
  }

  protected override get fruitless(): boolean {
    return super.fruitless && !this.stream?.wroteAny;
  }

  /** The run timeout. The peer is told in rap's words; the handler keeps its slot until it ends. */
  override expire(): void {
    const error = this.stream ? channelTimeIsOver() : callTimeIsOver();
    const { exchange } = this;
    if (this.leavesStream() && exchange) exchange.inScope((it) => this.#expireIn(exchange, it), error);
    else {
      this.fail(error.fault, error.name);
      this.settle();
    }
    this.cancel(error.fault);
  }

  /** Whether it is answered as a call: it is no stream, or was to be one of which the peer has not heard. */
  leavesStream(): boolean {
    if (this.stream && !this.stream.withdraw()) return false;
    this.stream = undefined;
    return true;
  }

  /** Where processors have taken all the time, they do not get the answer as well. */
  #expireIn(exchange: Exchange, error: NamedFault): void {
    const isWaiting = this.#answering || !this.#isHandled || this.reason !== undefined;
    if (isWaiting) this.#leave(exchange, null, undefined, error);
    else {
      this.#answer(exchange, null, undefined, error);
      if (!this.settled) this.limitRun(LAST_ANSWER_MS);
    }
  }
}

/** One that cannot be read is the error that says so. */
function answerView(exchange: Exchange, header: Header | null, body: unknown): MessageView {
  try {
    return exchange.outgoing(undefined, header, body);
  } catch (error) {
    const view = exchange.message(undefined, header, undefined);
    view.fail({ fault: error as Fault, name: nameOf(error as Fault) });
    return view;
  }
}

/** Why a handler is told to stop whose caller is gone. */
export function cancelled(): Fault {
  return new Fault({
    status: Status.RpcCall,
    code: 'ERR_RAP_CALL_CANCELLED',
    message: 'the caller cancelled',
  });
}
