/* oxlint-disable typescript/unbound-method -- a function that runs in a context is called on its object */
import { hold } from '../protocol/encoder.js';
import type { Fault } from '../protocol/fault.js';
import { MsgType, type Header } from '../protocol/frame.js';
import { nameOf, fromErrorFrame } from '../protocol/wire-error.js';
import type { Channel } from '../rpc/channel/channel.js';
import type { ChannelTable } from '../rpc/channel/channel-table.js';
import type { CallRequest, ReplySink } from '../rpc/client/call-request.js';
import {
  type AnswerHost,
  type CallLine,
  PendingCall,
  type PendingCallOwner,
} from '../rpc/client/pending-call.js';
import { type CapturedContext, captureContext } from '../rpc/context/async-context.js';
import type { RapLimits } from '../rpc/limits.js';
import { afterwards } from './afterwards.js';
import { CallContext } from './call-context.js';
import { Exchange, type Processors } from './exchange.js';
import type { MessageView } from './message-view.js';
import { ProcessedFlow } from './processed-channel.js';

type Phase = 'unsent' | 'sent' | 'answered';

/** A call of this side whose request and answer go through the processors. */
export class ProcessedCall extends PendingCall {
  #phase: Phase = 'unsent';
  #exchange: Exchange | undefined;
  /** The async context of the caller, for processors that run after the call was queued. */
  #context: CapturedContext | undefined;

  constructor(
    request: CallRequest,
    sink: ReplySink,
    owner: PendingCallOwner,
    private readonly processors: Processors,
  ) {
    super(request, sink, owner);
  }

  override get wasSent(): boolean {
    return this.#phase !== 'unsent';
  }

  override get awaitsAnswer(): boolean {
    return this.#phase === 'sent';
  }

  // --- sending ------------------------------------------------------------------------------------------------

  override hold(limits: RapLimits): void {
    this.holds(hold(this.request.body, limits, true));
    // a slot is freed in the async context of another call
    this.#context ??= captureContext();
  }

  /** Takes its slot now; it is sent after the processors. */
  override transmit(line: CallLine, id: number): void {
    if (this.#context) this.#context.runInAsyncScope(this.#process, this, line, id);
    else this.#process(line, id);
  }

  #process(line: CallLine, id: number): void {
    const { connection, limits } = line;
    const context = new CallContext(connection, 'call', this.request.target, id);
    const exchange = new Exchange(this.processors, context, limits);
    let view: MessageView;
    try {
      // keeps a snapshot, in case it restarts on another connection
      this.holds(hold(this.request.body, limits, true));
      view = exchange.outgoing(undefined, this.request.header, this.request.body);
    } catch (error) {
      return this.reject(error as Fault);
    }
    this.#exchange = exchange;
    line.took(this, id);
    void afterwards(
      () => exchange.begin(view),
      () => this.#send(view, exchange, line),
      (error) => {
        if (!this.settled && this.#exchange === exchange) this.reject(exchange.faultOf(error).fault);
      },
    );
  }

  #send(view: MessageView, exchange: Exchange, line: CallLine): void {
    if (this.settled || this.#exchange !== exchange || this.#phase !== 'unsent') return;
    try {
      const header = view.isTouched ? line.withDeadline(this, view.outcome as Header) : this.headerFor(line);
      line.link.send(MsgType.Msg, this.id, header, view.body);
    } catch (error) {
      this.reject(error as Fault);
      return;
    }
    this.#phase = 'sent';
    line.sent();
  }

  override restart(reason: Fault): void {
    this.#exchange?.exit(reason);
    this.#context ??= this.#exchange?.scope;
    this.#exchange = undefined;
    super.restart(reason);
  }

  // --- settling -----------------------------------------------------------------------------------------------

  /** The answer goes through the processors; meanwhile the call keeps its slot and its deadline. */
  override answer(header: Header, body: unknown, bytes: number, cost: number, host: AnswerHost): void {
    const exchange = this.#exchange as Exchange;
    const view = exchange.message(undefined, header, body, bytes);
    const error = fromErrorFrame(header, body);
    if (error) view.fail({ fault: error, name: nameOf(error) });
    this.#phase = 'answered';
    host.charge(cost); // while processors work on it
    const settle = (): void => {
      const named = exchange.faultIn(view);
      if (named) named.fault.header = view.given ?? undefined;
      if (!named) this.resolve(view.body, view.given);
      // an error that a processor replaced is never taken for a timeout
      else if (named.fault === error) this.fail(error, host.clock);
      else this.reject(named.fault);
      host.charge(-cost);
      host.ended();
    };
    void afterwards(() => exchange.inbound(view), settle, settle);
  }

  protected override newStream(channels: ChannelTable): Channel {
    return channels.create(this.id, 'open', undefined, new ProcessedFlow(this.#exchange as Exchange));
  }

  protected override exit(fault?: Fault): void {
    this.#exchange?.exit(fault);
  }
}
