import type { Fault } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import { type NamedFault, nameOf } from '../protocol/wire-error.js';
import type { AnyIncoming } from '../rpc/server/any-incoming.js';
import { IncomingCall } from '../rpc/server/incoming-call.js';
import { IncomingChannel } from '../rpc/server/incoming-channel.js';
import { afterwards } from './afterwards.js';
import type { MessageKind } from './api.js';
import { CallContext } from './call-context.js';
import type { Exchange } from './exchange.js';
import type { MessageView } from './message-view.js';
import type { ProcessedFlow } from './processed-channel.js';

/** Time for the processors to handle the timeout error of a call, in milliseconds. */
const TIMEOUT_ANSWER_MS = 1000;

/** An incoming call or event that goes through the processors, and its answer. Without an exchange, it skips them. */
export class ProcessedIncomingCall extends IncomingCall {
  exchange: Exchange | undefined;
  /** The processors have passed the call to the handler. */
  #isHandled = false;

  override reply(body: unknown): void {
    if (this.exchange) this.#answer(this.exchange, body);
    else super.reply(body);
  }

  protected override failAsCall(error: NamedFault): void {
    if (this.exchange) this.#answer(this.exchange, undefined, error);
    else super.failAsCall(error);
  }

  override accept(header: Header | undefined, body: unknown): void {
    super.accept(header, body);
    this.#isHandled = true;
  }

  override abort(reason: Fault): void {
    super.abort(reason);
    const { exchange } = this;
    if (exchange && !this.stream) exchange.inScope((it) => exchange.exit(it), reason);
  }

  /** The answer goes through the processors. Until it was sent, the call can still time out or be cancelled. */
  #answer(exchange: Exchange, body: unknown, error?: NamedFault): void {
    const header = this.replyHeader;
    if (this.settled || this.isAnswerPending) return;
    if (this.oneWay) return this.#leave(exchange, header, body, error);
    const view = answerView(exchange, header, body);
    if (error) view.fail(error);
    this.isAnswerPending = true;
    const leave = (): void => {
      this.isAnswerPending = false;
      this.#leave(exchange, view.outcome, view.body, exchange.faultIn(view));
      if (this.hasEnded) this.ended();
    };
    void afterwards(() => exchange.response(view), leave, leave);
  }

  #leave(exchange: Exchange, header: Header | null, body: unknown, error: NamedFault | undefined): void {
    if (!this.settle(error?.fault)) return;
    if (error) this.host.answerError(this, error.fault, error.name, header);
    else this.host.answer(this, header, body);
    exchange.exit(error?.fault);
  }

  protected override expireAsCall(error: NamedFault): void {
    const { exchange } = this;
    if (exchange) exchange.inScope((it) => this.#expireIn(exchange, it), error);
    else super.expireAsCall(error);
  }

  /** If the call timed out in the processors, the error does not go through them. */
  #expireIn(exchange: Exchange, error: NamedFault): void {
    const isWaiting = this.isAnswerPending || !this.#isHandled || this.reason !== undefined;
    if (isWaiting) this.#leave(exchange, null, undefined, error);
    else {
      this.#answer(exchange, undefined, error);
      if (!this.settled) this.limitRun(TIMEOUT_ANSWER_MS);
    }
  }
}

/** An incoming channel whose messages go through the processors. */
export class ProcessedIncomingChannel extends IncomingChannel {
  exchange: Exchange | undefined;
  flow: ProcessedFlow | undefined;

  /** Applies the processors' changes to DECLARE. */
  accept(header: Header | undefined, metadata: unknown): void {
    this.acceptHeader(header);
    this.channel.metadata = metadata;
  }

  /** The slot is free only after its last messages have left the processors, too. */
  override ended(): void {
    if (!this.exchange || this.channel.isClosed) super.ended();
    else this.channel.whenClosed(() => super.ended());
  }
}

/** The context of an incoming call or channel: the same object for middleware and processors. */
export function contextOf(incoming: AnyIncoming): CallContext {
  const { id, header, connection } = incoming;
  const context =
    exchangeOf(incoming)?.context ?? new CallContext(connection, kindOf(incoming), header.target ?? '', id);
  context.incoming = incoming;
  return context;
}

function exchangeOf(incoming: AnyIncoming): Exchange | undefined {
  const isProcessed =
    incoming instanceof ProcessedIncomingCall || incoming instanceof ProcessedIncomingChannel;
  return isProcessed ? incoming.exchange : undefined;
}

export function kindOf(incoming: AnyIncoming): MessageKind {
  if (incoming.kind === 'channel') return 'channel';
  return incoming.oneWay ? 'event' : 'call';
}

/** An answer that cannot be encoded becomes an error. */
function answerView(exchange: Exchange, header: Header | null, body: unknown): MessageView {
  try {
    return exchange.outgoing(undefined, header, body);
  } catch (error) {
    const view = exchange.message(undefined, header, undefined);
    view.fail({ fault: error as Fault, name: nameOf(error as Fault) });
    return view;
  }
}
