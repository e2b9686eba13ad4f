import { AsyncResource } from 'node:async_hooks';
import { isObservable } from 'rxjs';
import { detailsTravel } from '../../protocol/error-details.js';
import { TimeLimit } from '../../rpc/time/deadline-queue.js';
import type { Incoming } from '../../rpc/server/incoming.js';
import { IncomingCall } from '../../rpc/server/incoming-call.js';
import type { IncomingChannel } from '../../rpc/server/incoming-channel.js';
import { aroundCall } from '../../pipeline/compose.js';
import type { ChannelMessage } from '../../rpc/channel/message-queue.js';
import { MessageView } from '../../pipeline/message-view.js';
import type { MessageMiddleware } from '../../pipeline/api.js';
import { pumpAnswer } from './answer-sink.js';
import { runInScope } from '../handlers/call-scope.js';
import { toRapError } from '../errors/to-rap-error.js';
import {
  callerError,
  handlerFault,
  isMeantForCaller,
  maskError,
  MASKED_MESSAGE,
} from '../errors/handler-fault.js';
import type { Route } from '../handlers/handler.js';
import { noParametersFault, parametersFault, unaryFault } from './kind-fault.js';
import { pumpObservable } from '../streams/observable-source.js';
import { RapChannel } from '../streams/rap-channel.js';
import { RapContext } from '../handlers/rap-context.js';
import { UnfilteredError } from '../streams/stream-source.js';
import { isValues, pump, type Values } from '../streams/values.js';

/** Nest's processing hooks, which instrumentation sets on a server. */
export interface ProcessingHooks {
  start(context: RapContext, done: () => Promise<unknown>): unknown;
  /** `undefined` where nobody listens. */
  readonly end: ((context: RapContext) => void) | undefined;
}

/** The user's deserializer and serializer of Nest, where they set one. */
export interface BodyCodec {
  decode(route: Route, call: Pick<IncomingCall, 'id' | 'body'>): Promise<unknown>;
  encode(route: Route, call: IncomingCall, result: unknown): Promise<unknown>;
}

export interface DispatcherOptions {
  readonly hooks: ProcessingHooks;
  readonly exposeErrors: boolean;
  /** Turns a request's body into what the handler gets, and a result into what is sent; `undefined` leaves both alone. */
  readonly codec: () => BodyCodec | undefined;
  /** Around the handlers of calls and events; `undefined` where there is none. */
  readonly middleware: readonly MessageMiddleware[] | undefined;
  readonly onError: (error: unknown) => void;
  readonly onWarning: (message: string) => void;
}

/** What is known of a stream when its parameters have come. */
interface StreamJob {
  readonly parameters: ChannelMessage;
  readonly incoming: IncomingChannel;
  readonly route: Route;
  readonly context: RapContext;
  /** Time that the handler has until it gives a stream, where nobody has set another. */
  readonly patienceMs: number;
}

/** Takes calls and channels through Nest's pipeline (guards, pipes, interceptors, filters) to their answers. */
export class CallDispatcher {
  /** Handlers whose lost details the developer knows of. */
  readonly #warned = new Set<string>();

  constructor(private readonly options: DispatcherOptions) {}

  /** A unary call, or an event. */
  dispatch(call: IncomingCall, route: Route): void {
    this.#begin(call, route, (context) => this.#answer(call, route, context));
  }

  /** A channel: its handler gets it as its payload. */
  converse(incoming: IncomingChannel, route: Route): void {
    if (!incoming.takeSlot()) return;
    incoming.peer.acceptChannel(incoming);
    if (incoming.settled) return incoming.ended(); // a processor did not let the answer out
    this.#begin(incoming, route, (context) => this.#converse(incoming, route, context));
  }

  /** A stream: its handler gets the channel's first message as its payload, which must come within `patienceMs`. */
  stream(incoming: IncomingChannel, route: Route, patienceMs: number): void {
    const { peer, channel } = incoming;
    peer.acceptChannel(incoming);
    if (incoming.settled) return incoming.ended();
    const limit = new TimeLimit(() => incoming.fail(parametersFault(route, patienceMs), 'ChannelError'));
    peer.deadlines.add(limit, patienceMs);
    channel.whenClosed(() => peer.deadlines.remove(limit));
    channel.read().then(
      (parameters) => {
        peer.deadlines.remove(limit);
        if (parameters && !incoming.takeSlot()) return;
        channel.expectNoMessages();
        if (incoming.settled) return incoming.ended();
        if (parameters)
          this.#begin(incoming, route, (context) =>
            this.#stream({ parameters, incoming, route, context, patienceMs }),
          );
        else {
          // the client has gone, or has ended its side, without a word: the function does not run
          incoming.fail(noParametersFault(route), 'ChannelError');
          incoming.ended();
        }
      },
      () => incoming.ended(),
    );
  }

  /** Runs the hooks of Nest around `work`, which never rejects. */
  #begin(incoming: Incoming, route: Route, work: (context: RapContext) => Promise<void>): void {
    const context = new RapContext(incoming, route);
    const { hooks } = this.options;
    const run = (): Promise<void> => {
      // it was over before its handler could begin
      if (incoming.settled) return Promise.resolve(incoming.ended());
      const { end } = hooks;
      // the end hook looks for its trace in the context of the start hook, also when a socket event ends the call
      if (end) incoming.onSettled = AsyncResource.bind(() => this.#guarded(() => end(context)));
      return runInScope(incoming, () => work(context));
    };
    try {
      const started = hooks.start(context, run);
      if (started instanceof Promise) {
        started.catch((error) => this.#fail(new UnfilteredError(error), incoming, context));
      }
    } catch (error) {
      this.#fail(new UnfilteredError(error), incoming, context);
    }
  }

  #guarded(hook: () => void): void {
    try {
      hook();
    } catch (error) {
      try {
        this.options.onError(error);
      } catch {
        // what was thrown cannot even be logged
      }
    }
  }

  #answer(call: IncomingCall, route: Route, context: RapContext): Promise<void> {
    const { middleware } = this.options;
    if (middleware) return this.#answerThrough(middleware, call, route, context);
    return this.#handle(call, route, context).then(
      (value) => {
        if (isValues(value)) return this.#answerValues(value, call, route, context);
        return this.#reply(value, call, route, context);
      },
      (error: unknown) => this.#fail(new UnfilteredError(error), call, context),
    );
  }

  #handle(call: IncomingCall, route: Route, context: RapContext): Promise<unknown> {
    const codec = this.options.codec();
    // Nest's handlers give promises; one that was added by hand may give anything
    const result: unknown = codec
      ? codec.decode(route, call).then((body) => route.handler(body, context))
      : route.handler(call.body, context);
    return result instanceof Promise ? result : Promise.resolve(result);
  }

  /** Runs middleware around the handler. The call's slot is free when the handler has ended, however early that answered. */
  async #answerThrough(
    middleware: readonly MessageMiddleware[],
    call: IncomingCall,
    route: Route,
    context: RapContext,
  ): Promise<void> {
    const callContext = call.peer.contextOf(call, call.oneWay ? 'event' : 'call');
    const view = new MessageView(callContext, undefined, call.header, call.body, call.bytes);
    let running: Promise<unknown> | undefined;
    let isAnswered = false;
    const handle = (): Promise<unknown> => {
      // the slot is given back: a handler that starts now would run beside all limits
      if (isAnswered) return Promise.reject(new Error(`${route.target} is answered: next() comes too late`));
      // nobody waits any more: not worth the handler's time
      if (call.settled) return Promise.reject(toRapError(call.signal.reason));
      call.accept(view);
      running = this.#result(call, route, context);
      return running;
    };
    let answer: unknown;
    try {
      answer = await aroundCall(middleware, view, callContext, handle);
      isAnswered = true;
    } catch (error) {
      isAnswered = true;
      const { fault, name } = handlerFault(this.#masked(error));
      if (fault.details !== undefined) this.#checkDetails(fault.details, context);
      call.fail(fault, name);
      await running?.catch(() => {});
      call.ended();
      return;
    }
    if (call.leavesStream()) await this.#send(answer, call, route, context);
    await running?.catch(() => {});
    call.stream?.close(); // it has ended, or has failed and middleware has kept that to itself
    call.ended();
  }

  /** What the handler answers with. Several values are sent as a stream, and the result is `undefined` when they have ended. */
  async #result(call: IncomingCall, route: Route, context: RapContext): Promise<unknown> {
    try {
      const value = await unfiltered(this.#handle(call, route, context));
      if (!isValues(value)) return value;
      const single = await pumpAnswer(value, call, route, context.items);
      context.assertNotKept();
      return single?.value;
    } catch (error) {
      throw callerError(this.#seen(error, call, context)); // as middleware sees it, and the caller after it
    }
  }

  async #answerValues(values: Values, call: IncomingCall, route: Route, context: RapContext): Promise<void> {
    let single;
    try {
      single = await pumpAnswer(values, call, route, context.items);
      context.assertNotKept();
    } catch (error) {
      return this.#fail(error, call, context);
    }
    if (single) return this.#reply(single.value, call, route, context);
    call.ended();
  }

  #reply(value: unknown, call: IncomingCall, route: Route, context: RapContext): void | Promise<void> {
    const sent = this.#send(value, call, route, context);
    if (sent) return sent.then(() => call.ended());
    call.ended();
  }

  #send(value: unknown, call: IncomingCall, route: Route, context: RapContext): void | Promise<void> {
    const codec = this.options.codec();
    if (!codec) return call.reply(value, context.replyHeader);
    return codec.encode(route, call, value).then(
      (encoded) => call.reply(encoded, context.replyHeader),
      (error: unknown) => {
        const { fault, name } = handlerFault(this.#masked(error));
        call.fail(fault, name);
      },
    );
  }

  /** `@ChannelPattern`: the channel ends when the handler does. */
  async #converse(incoming: IncomingChannel, route: Route, context: RapContext): Promise<void> {
    try {
      const result: unknown = await unfiltered(route.handler(new RapChannel(incoming.channel), context));
      // an interceptor has made an Observable of it, which waits to be subscribed to
      if (isObservable(result)) await pumpObservable(result, NOWHERE, context.items);
    } catch (error) {
      return this.#fail(error, incoming, context);
    }
    incoming.close();
    incoming.ended();
  }

  /** A stream: parameters in, items out. */
  async #stream(job: StreamJob): Promise<void> {
    const { incoming, context, parameters } = job;
    const { middleware } = this.options;
    try {
      if (middleware) await this.#streamThrough(middleware, job);
      else await this.#run(parameters.body, job);
    } catch (error) {
      return this.#fail(error, incoming, context);
    }
    incoming.close();
    incoming.ended();
  }

  /** Runs middleware around the handler of a stream: `next()` resolves when that has ended. */
  async #streamThrough(middleware: readonly MessageMiddleware[], job: StreamJob): Promise<void> {
    const { incoming, route, context, parameters } = job;
    const callContext = incoming.peer.contextOf(incoming, 'channel');
    const view = new MessageView(callContext, undefined, incoming.header, parameters.body, parameters.bytes);
    let running: Promise<void> | undefined;
    const handle = (): Promise<void> => {
      if (incoming.settled) return Promise.reject(toRapError(incoming.signal.reason));
      incoming.acceptParameters(view);
      running = this.#run(view.body, job).catch((error: unknown) => {
        throw callerError(this.#seen(error, incoming, context)); // as middleware sees it, and the caller after it
      });
      return running;
    };
    try {
      await aroundCall(middleware, view, callContext, handle);
      await running;
    } catch (error) {
      await running?.catch(() => {});
      throw new UnfilteredError(error);
    }
    // what middleware answers with instead is one value
    if (!running) throw unaryFault(route);
  }

  /** Runs the handler, which has the time of a call until it has given a stream, and sends that. */
  async #run(body: unknown, { incoming, route, context, patienceMs }: StreamJob): Promise<void> {
    const { deadlines } = incoming.peer;
    const hasOwnLimit = incoming.timeLeftMs !== undefined;
    if (!hasOwnLimit) incoming.limitRun(patienceMs);
    const codec = this.options.codec();
    const decoded = codec ? await codec.decode(route, { id: incoming.id, body }) : body;
    const result: unknown = await unfiltered(route.handler(decoded, context));
    if (!hasOwnLimit) deadlines.remove(incoming);
    if (!isValues(result)) throw unaryFault(route);
    await pump(result, incoming.channel, context.items);
    context.assertNotKept();
  }

  #fail(error: unknown, incoming: Incoming, context: RapContext): void {
    const { fault, name } = handlerFault(this.#seen(error, incoming, context));
    if (fault.details !== undefined) this.#checkDetails(fault.details, context);
    incoming.fail(fault, name);
    incoming.ended();
  }

  /** The error that the caller sees. */
  #seen(error: unknown, incoming: Incoming, context: RapContext): unknown {
    const seen = error instanceof UnfilteredError ? this.#masked(error.error) : this.#exposed(error, context);
    const isEvent = incoming instanceof IncomingCall && incoming.oneWay;
    // nobody is told of an event that fails, and Nest logs all but these
    if (isEvent && isMeantForCaller(seen) && seen === context.failure)
      this.#guarded(() => this.options.onError(seen));
    return seen;
  }

  /** Once for each handler: what a caller does not get is found at the server or nowhere. */
  #checkDetails(details: unknown, { target }: RapContext): void {
    if (this.#warned.has(target) || detailsTravel(details)) return;
    this.#warned.add(target);
    this.#guarded(() => this.options.onWarning(`${target}: details of an error ${DETAILS_CUT}`));
  }

  /** Does for an error that came after the handler had returned what Nest's last filter does. */
  #masked(error: unknown): unknown {
    if (this.options.exposeErrors) return error;
    return maskError(error, (it) => this.#guarded(() => this.options.onError(it)));
  }

  /** The error that Nest masked in its own place: an `HttpException` always, any other with `exposeErrors`. */
  #exposed(error: unknown, { failure }: RapContext): unknown {
    if (failure === undefined || !isMasked(error)) return error;
    return this.options.exposeErrors || isMeantForCaller(failure) ? failure : error;
  }
}

const DETAILS_CUT = 'are too large (4 KiB) or have no form on the wire; they were cut or left out';

/** Nest's handlers never reject: what does was added by hand, or is a filter that failed. */
async function unfiltered(result: unknown): Promise<unknown> {
  try {
    return await result;
  } catch (error) {
    throw new UnfilteredError(error);
  }
}

/** What Nest's last filter makes of an error that it does not know. */
function isMasked(error: unknown): boolean {
  return (
    typeof error === 'object' && error !== null && 'message' in error && error.message === MASKED_MESSAGE
  );
}

/** Takes what the interceptors of a channel handler make of its result, which goes nowhere. */
const NOWHERE = {
  isClosed: false,
  tryWrite: () => true,
  hold: (value: unknown) => value,
  maxPushedBytes: Infinity,
  write: () => Promise.resolve(),
  whenClosed: () => {},
  close: () => {},
};
