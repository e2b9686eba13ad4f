import { AsyncResource } from 'node:async_hooks';
import { RpcException } from '@nestjs/microservices';
import { isObservable } from 'rxjs';
import type { Incoming } from '../rpc/incoming.js';
import type { IncomingCall } from '../rpc/incoming-call.js';
import type { IncomingChannel } from '../rpc/incoming-channel.js';
import { AnswerSink, kindFault } from './answer-sink.js';
import { runInScope } from './call-scope.js';
import { ServerError } from './errors.js';
import { handlerFault, MASKED_MESSAGE } from './handler-fault.js';
import type { Route } from './handler-registry.js';
import { RapChannel } from './rap-channel.js';
import { RapContext } from './rap-context.js';
import { isStream, pumpIterable, pumpObservable, UnfilteredError } from './stream-source.js';

/** Nest's processing hooks, which instrumentation sets on a server. */
export interface ProcessingHooks {
  start(context: RapContext, done: () => Promise<unknown>): unknown;
  /** `undefined` where nobody listens. */
  readonly end: ((context: RapContext) => void) | undefined;
}

/** The user's deserializer and serializer of Nest, where they set one. */
export interface BodyCodec {
  decode(route: Route, call: IncomingCall): Promise<unknown>;
  encode(route: Route, call: IncomingCall, result: unknown): Promise<unknown>;
}

export interface DispatcherOptions {
  readonly hooks: ProcessingHooks;
  readonly exposeErrors: boolean;
  /** Turns a request's body into what the handler gets, and a result into what is sent; `undefined` leaves both alone. */
  readonly codec: BodyCodec | undefined;
  readonly onError: (error: unknown) => void;
}

/** Takes calls and channels through Nest's pipeline (guards, pipes, interceptors, filters) to their answers. */
export class CallDispatcher {
  constructor(private readonly options: DispatcherOptions) {}

  /** A unary call, or an event. */
  dispatch(call: IncomingCall, route: Route): void {
    this.#begin(call, route, (context) => this.#answer(call, route, context));
  }

  /** A channel: the handler of a channel gets it as its payload, a stream's gets the first message. */
  dispatchChannel(incoming: IncomingChannel, route: Route): void {
    incoming.peer.acceptChannel(incoming);
    if (route.isChannel) {
      this.#begin(incoming, route, (context) => this.#converse(incoming, route, context));
      return;
    }
    incoming.channel.read().then(
      (parameters) => {
        if (parameters)
          this.#begin(incoming, route, (context) => this.#stream(parameters.body, incoming, route, context));
        else incoming.ended(); // the client has gone without a word
      },
      () => incoming.ended(),
    );
  }

  /** Runs the hooks of Nest around `work`, which never rejects. */
  #begin(incoming: Incoming, route: Route, work: (context: RapContext) => Promise<void>): void {
    const context = new RapContext(incoming, route);
    const { hooks, onError } = this.options;
    const run = (): Promise<void> => {
      const { end } = hooks;
      // the end hook looks for its trace in the context of the start hook, also when a socket event ends the call
      if (end) incoming.onSettled = AsyncResource.bind(() => end(context));
      return runInScope(incoming, () => work(context));
    };
    try {
      const started = hooks.start(context, run);
      if (started instanceof Promise) started.catch((error) => this.#fail(error, incoming, context));
    } catch (error) {
      onError(error); // a hook threw before it let the handler run
      this.#fail(error, incoming, context);
    }
  }

  #answer(call: IncomingCall, route: Route, context: RapContext): Promise<void> {
    const { codec } = this.options;
    const result = codec
      ? codec.decode(route, call).then((body) => route.handler(body, context))
      : route.handler(call.body, context);
    return result.then(
      (value) => {
        if (isObservable(value) || isStream(value)) return this.#answerValues(value, call, route, context);
        return this.#reply(value, call, route, context);
      },
      (error: unknown) => this.#fail(error, call, context),
    );
  }

  async #answerValues(values: unknown, call: IncomingCall, route: Route, context: RapContext): Promise<void> {
    const sink = new AnswerSink(call, route);
    try {
      if (isObservable(values)) await pumpObservable(values, sink);
      else if (isStream(values)) await pumpIterable(values, sink);
    } catch (error) {
      return this.#fail(error, call, context);
    }
    const single = sink.end();
    if (single) return this.#reply(single.value, call, route, context);
    call.ended();
  }

  #reply(value: unknown, call: IncomingCall, route: Route, context: RapContext): void | Promise<void> {
    const { codec } = this.options;
    if (!codec) {
      call.reply(value, context.replyHeader);
      call.ended();
      return;
    }
    return codec.encode(route, call, value).then(
      (encoded) => {
        call.reply(encoded, context.replyHeader);
        call.ended();
      },
      (error: unknown) => this.#fail(error, call, context),
    );
  }

  /** `@ChannelPattern`: the channel ends when the handler does. */
  async #converse(incoming: IncomingChannel, route: Route, context: RapContext): Promise<void> {
    try {
      const result: unknown = await route.handler(new RapChannel(incoming.channel), context);
      // an interceptor has made an Observable of it, which waits to be subscribed to
      if (isObservable(result)) await pumpObservable(result, NOWHERE);
    } catch (error) {
      return this.#fail(error, incoming, context);
    }
    incoming.close();
    incoming.ended();
  }

  /** A stream: parameters in, items out. */
  async #stream(
    parameters: unknown,
    incoming: IncomingChannel,
    route: Route,
    context: RapContext,
  ): Promise<void> {
    try {
      const result: unknown = await route.handler(parameters, context);
      if (isObservable(result)) await pumpObservable(result, incoming.channel);
      else if (isStream(result)) await pumpIterable(result, incoming.channel);
      else throw kindFault(route, 'unary', 'call()', 'stream() or channel()');
    } catch (error) {
      return this.#fail(error, incoming, context);
    }
    incoming.close();
    incoming.ended();
  }

  #fail(error: unknown, incoming: Incoming, context: RapContext): void {
    const seen = error instanceof UnfilteredError ? this.#masked(error.error) : this.#exposed(error, context);
    const { fault, name } = handlerFault(seen);
    incoming.fail(fault, name);
    incoming.ended();
  }

  /** Does for an error that came after the handler had returned what Nest's last filter does. */
  #masked(error: unknown): unknown {
    if (error instanceof RpcException) return error.getError();
    if (this.options.exposeErrors) return error;
    this.options.onError(error);
    return new ServerError(MASKED_MESSAGE);
  }

  /** With `exposeErrors`, the error that Nest masked in its own place. */
  #exposed(error: unknown, context: RapContext): unknown {
    if (!this.options.exposeErrors || context.failure === undefined) return error;
    const masked = (error as { message?: unknown } | null | undefined)?.message === MASKED_MESSAGE;
    return masked ? context.failure : error;
  }
}

/** Takes what the interceptors of a channel handler make of its result, which goes nowhere. */
const NOWHERE = {
  isClosed: false,
  tryWrite: () => true,
  write: () => Promise.resolve(),
  whenClosed: () => {},
};
