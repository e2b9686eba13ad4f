import { aroundCall } from '../../pipeline/compose.js';
import type { MessageMiddleware } from '../../pipeline/api.js';
import { MessageView } from '../../pipeline/message-view.js';
import { contextOf } from '../../pipeline/processed-incoming.js';
import type { IncomingCall } from '../../rpc/server/incoming-call.js';
import { callerError } from '../errors/handler-fault.js';
import { toRapError } from '../errors/to-rap-error.js';
import type { Route } from '../handlers/handler.js';
import type { RapContext } from '../handlers/rap-context.js';
import { UnfilteredError } from '../streams/stream-source.js';
import { isValues } from '../streams/values.js';
import { pumpAnswer } from './answer-sink.js';
import { CallDispatcher, type DispatcherOptions, type StreamJob, unfiltered } from './call-dispatcher.js';
import { unaryFault } from './kind-fault.js';

/** Runs middleware around the handlers of calls, events and streams. */
export class MiddlewareDispatcher extends CallDispatcher {
  constructor(
    options: DispatcherOptions,
    private readonly middleware: readonly MessageMiddleware[],
  ) {
    super(options);
  }

  /** The call keeps its slot until the handler has ended, however early middleware answers. */
  protected override async answer(call: IncomingCall, route: Route, context: RapContext): Promise<void> {
    const callContext = contextOf(call);
    const view = new MessageView(callContext, undefined, call.header, call.body, call.bytes);
    let running: Promise<unknown> | undefined;
    let isAnswered = false;
    const handle = (): Promise<unknown> => {
      // the slot is free: a handler that starts now would run outside all limits
      if (isAnswered) return Promise.reject(new Error(`${route.target} is answered: next() comes too late`));
      // no caller waits any more
      if (call.settled) return Promise.reject(toRapError(call.signal.reason));
      call.accept(view.changedHeader, view.body);
      running = this.#result(call, route, context);
      return running;
    };
    let answer: unknown;
    try {
      answer = await aroundCall(this.middleware, view, callContext, handle);
      isAnswered = true;
    } catch (error) {
      isAnswered = true;
      this.failures.answer(this.failures.masked(error), call, context);
      await running?.catch(() => {});
      call.ended();
      return;
    }
    if (call.revertToCall()) await this.send(answer, call);
    await running?.catch(() => {});
    call.stream?.close(); // it has ended, or middleware has swallowed its failure
    call.ended();
  }

  /** `next()` of the middleware resolves when the handler has ended. */
  protected override async answerStream(job: StreamJob): Promise<void> {
    const { incoming, route, context, parameters } = job;
    const callContext = contextOf(incoming);
    const view = new MessageView(callContext, undefined, incoming.header, parameters.body, parameters.bytes);
    let running: Promise<void> | undefined;
    const handle = (): Promise<void> => {
      if (incoming.settled) return Promise.reject(toRapError(incoming.signal.reason));
      incoming.acceptParameters(view.changedHeader);
      running = this.run(view.body, job).catch((error: unknown) => {
        throw callerError(this.failures.seen(error, incoming, context)); // as middleware sees it, and the caller after it
      });
      return running;
    };
    try {
      await aroundCall(this.middleware, view, callContext, handle);
      await running;
    } catch (error) {
      await running?.catch(() => {});
      throw new UnfilteredError(error);
    }
    // middleware has answered instead, with one value
    if (!running) throw unaryFault(route);
  }

  /** What the handler answers with. Several values are sent as a stream, and the result is `undefined` when they have ended. */
  async #result(call: IncomingCall, route: Route, context: RapContext): Promise<unknown> {
    try {
      const value = await unfiltered(this.handle(call, route, context));
      if (!isValues(value)) return value;
      const single = await pumpAnswer(value, call, route, context.items);
      context.assertNotKept();
      return single?.value;
    } catch (error) {
      throw callerError(this.failures.seen(error, call, context)); // as middleware sees it, and the caller after it
    }
  }
}
