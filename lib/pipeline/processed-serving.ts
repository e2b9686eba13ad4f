/* oxlint-disable typescript/unbound-method -- a function that runs in a context is called on its object */
import { tellRefusal } from '../diagnostics/channels.js';
import type { Header } from '../protocol/frame.js';
import { asRefused } from '../protocol/fault.js';
import { LifeCycle } from '../protocol/life-cycle.js';
import { Status } from '../protocol/status.js';
import type { Channel } from '../rpc/channel/channel.js';
import type { AnyIncoming } from '../rpc/server/any-incoming.js';
import type { IncomingCall } from '../rpc/server/incoming-call.js';
import type { IncomingChannel } from '../rpc/server/incoming-channel.js';
import { Serving, type ServingOptions } from '../rpc/server/serving.js';
import { afterwards } from './afterwards.js';
import { CallContext } from './call-context.js';
import { Exchange, type Processors } from './exchange.js';
import { ProcessedFlow } from './processed-channel.js';
import { kindOf, ProcessedIncomingCall, ProcessedIncomingChannel } from './processed-incoming.js';

/** As `Serving`, through the processors. Calls without a target skip them, since no handler can match. */
export class ProcessedServing extends Serving {
  constructor(
    options: ServingOptions,
    private readonly processors: Processors,
  ) {
    super(options);
  }

  protected override newCall(id: number, header: Header, body: unknown, oneWay: boolean): IncomingCall {
    return new ProcessedIncomingCall(this, id, header, body, oneWay);
  }

  protected override newChannel(header: Header, channel: Channel): IncomingChannel {
    return new ProcessedIncomingChannel(this, header, channel);
  }

  protected override dispatch(call: ProcessedIncomingCall): void {
    this.options.context.run(this.#process, this, call);
  }

  protected override dispatchChannel(incoming: ProcessedIncomingChannel, bytes: number): void {
    this.options.context.run(this.#processChannel, this, { incoming, bytes });
  }

  #process(call: ProcessedIncomingCall): void {
    const { owner } = this;
    const { header, body, bytes, oneWay } = call;
    if (typeof header.target !== 'string') return owner.onCall(call);
    if (owner.onArrival?.(call) === false) return;
    const exchange = this.#exchange(call, header.target);
    const view = exchange.message(undefined, header, body, bytes);
    call.exchange = exchange;
    void afterwards(
      () => exchange.begin(view),
      () => {
        if (call.settled) return call.ended();
        call.accept(view.changedHeader, view.body);
        if (oneWay) this.receipts.taken(call);
        owner.onCall(call);
      },
      (error) => this.#failed(call, exchange, error),
    );
  }

  /** DECLARE goes through the processors first; later messages wait. */
  #processChannel({ incoming, bytes }: { incoming: ProcessedIncomingChannel; bytes: number }): void {
    const { owner } = this;
    const { header, channel } = incoming;
    if (typeof header.target !== 'string') return owner.onChannel(incoming);
    if (owner.onArrival?.(incoming) === false) return;
    const exchange = this.#exchange(incoming, header.target);
    const flow = new ProcessedFlow(exchange);
    incoming.exchange = exchange;
    incoming.flow = flow;
    channel.useFlow(flow);
    flow.opened(exchange.message(LifeCycle.Declare, header, channel.metadata, bytes), {
      done: (view) => {
        if (incoming.settled) return incoming.ended();
        incoming.accept(view.changedHeader, view.body);
        owner.onChannel(incoming);
      },
      failed: (error) => this.#failed(incoming, exchange, error),
    });
  }

  #failed(incoming: AnyIncoming, exchange: Exchange, error: unknown): void {
    if (!incoming.settled) {
      const { fault, name } = exchange.faultOf(error);
      const isLimit = fault.status === Status.TooManyRequests;
      if (isLimit) tellRefusal(incoming.kind, 'processor');
      // a limit of this server: another one may have room. Other errors would be the same there
      this.fail(incoming, isLimit ? asRefused(fault) : fault, name);
    }
    incoming.ended();
  }

  override accept(incoming: ProcessedIncomingChannel): void {
    const { id, flow, exchange } = incoming;
    if (!exchange || !flow) return super.accept(incoming);
    const declare = exchange.message(LifeCycle.Declare, { channel_life_cycle: LifeCycle.Declare }, null);
    try {
      flow.open(declare, (view) => this.sendDeclared(id, view.outcome, view.body));
    } catch {
      // the failure has closed the channel
    }
  }

  protected override newStream(call: ProcessedIncomingCall): Channel {
    const { id, exchange } = call;
    return this.options.channels.create(id, 'open', undefined, exchange && new ProcessedFlow(exchange));
  }

  #exchange(incoming: AnyIncoming, target: string): Exchange {
    const { connection, limits } = this.options;
    const context = new CallContext(connection, kindOf(incoming), target, incoming.id);
    return new Exchange(this.processors, context, limits);
  }
}
