import type { Fault } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import { heldValue } from '../protocol/held-body.js';
import { LifeCycle } from '../protocol/life-cycle.js';
import type { Channel } from '../rpc/channel/channel.js';
import type { CallRequest, ReplySink } from '../rpc/client/call-request.js';
import { Calling, type CallingOptions } from '../rpc/client/calling.js';
import type { PendingCall } from '../rpc/client/pending-call.js';
import { afterwards } from './afterwards.js';
import type { MessageKind } from './api.js';
import { CallContext } from './call-context.js';
import { Exchange, type Processors } from './exchange.js';
import { PendingEvents } from './pending-events.js';
import { ProcessedCall } from './processed-call.js';
import { ProcessedFlow } from './processed-channel.js';

/** As `Calling`, through the processors. */
export class ProcessedCalling extends Calling {
  readonly #pendingEvents: PendingEvents;

  constructor(
    options: CallingOptions,
    private readonly processors: Processors,
  ) {
    super(options);
    this.#pendingEvents = new PendingEvents(options.clock);
  }

  override call(request: CallRequest, sink: ReplySink): PendingCall {
    const { calls } = this.options;
    const call = new ProcessedCall(request, sink, calls, this.processors);
    calls.start(call);
    return call;
  }

  override async emit(request: CallRequest): Promise<void> {
    const exchange = this.#exchange('event', request.target, this.options.ids.next());
    const view = exchange.outgoing(undefined, request.header, request.body);
    let isOver = false;
    let sent: Promise<void> | undefined;
    const work = afterwards(
      () => exchange.begin(view),
      () => {
        if (isOver) return;
        sent = this.#startExchange({ ...request, header: view.outcome as Header, body: view.body }, exchange);
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
    await sent; // set by now, unless the work was given up
  }

  #startExchange(request: CallRequest, exchange: Exchange): Promise<void> {
    return new Promise((resolve, reject) => {
      let failed: Fault | undefined;
      const refuse = (fault: Fault): void => reject((failed = fault));
      this.startEvent(request, { resolve: () => resolve(), reject: refuse });
      // processors are done once the event was handed over
      exchange.exit(failed);
    });
  }

  override openChannel(request: CallRequest): Channel {
    const { channels, calls, ids } = this.options;
    const { target, body: metadata } = request;
    calls.assertOpen();
    const id = ids.next();
    const exchange = this.#exchange('channel', target, id);
    const view = exchange.outgoing(LifeCycle.Declare, this.declareHeader(request), metadata);
    const flow = new ProcessedFlow(exchange);
    const channel = channels.create(id, 'declaring', heldValue(metadata), flow);
    flow.open(view, () => {
      calls.assertOpen();
      this.declare(id, view.outcome as Header, view.body);
    });
    return channel;
  }

  /** Fails events that are in processors. */
  override failAll(unsent: Fault): void {
    this.#pendingEvents.failAll(unsent);
  }

  #exchange(kind: MessageKind, target: string, id: number): Exchange {
    const { connection, limits } = this.options;
    return new Exchange(this.processors, new CallContext(connection, kind, target, id), limits);
  }
}
