import { AsyncResource } from 'node:async_hooks';
import { isObservable, type Observable, type Subscription } from 'rxjs';
import { Fault } from '../protocol/fault.js';
import { Status } from '../protocol/status.js';
import type { IncomingCall } from '../rpc/incoming-call.js';
import { handlerFault, MASKED_MESSAGE } from './handler-fault.js';
import type { Route } from './handler-registry.js';
import { RapContext } from './rap-context.js';

/** Nest's processing hooks, which instrumentation sets on a server. */
export interface ProcessingHooks {
  start(context: RapContext, done: () => Promise<unknown>): unknown;
  /** `undefined` where nobody listens. */
  readonly end: ((context: RapContext) => void) | undefined;
}

export interface DispatcherOptions {
  readonly hooks: ProcessingHooks;
  readonly exposeErrors: boolean;
  /** Turns a request's body into what the handler gets, and a result into what is sent; `undefined` leaves both alone. */
  readonly codec: BodyCodec | undefined;
  readonly onError: (error: unknown) => void;
}

/** The user's deserializer and serializer of Nest, where they set one. */
export interface BodyCodec {
  decode(route: Route, call: IncomingCall): Promise<unknown>;
  encode(route: Route, call: IncomingCall, result: unknown): Promise<unknown>;
}

/** Takes a call through Nest's pipeline (guards, pipes, interceptors, filters around the handler) to its answer. */
export class CallDispatcher {
  constructor(private readonly options: DispatcherOptions) {}

  dispatch(call: IncomingCall, route: Route): void {
    const context = new RapContext(call, route);
    const { hooks, onError } = this.options;
    try {
      const started = hooks.start(context, () => this.#run(call, route, context));
      if (started instanceof Promise) started.catch((error) => this.#crashed(call, error));
    } catch (error) {
      onError(error); // a hook threw before it let the handler run
      this.#crashed(call, error);
    }
  }

  #crashed(call: IncomingCall, error: unknown): void {
    const { fault, name } = handlerFault(error);
    call.fail(fault, name);
    call.ended();
  }

  #run(call: IncomingCall, route: Route, context: RapContext): Promise<void> {
    const { end } = this.options.hooks;
    // the end hook looks for its trace in the context of the start hook, also when a socket event ends the call
    if (end) call.onSettled = AsyncResource.bind(() => end(context));
    const { codec } = this.options;
    const result = codec
      ? codec.decode(route, call).then((body) => route.handler(body, context))
      : route.handler(call.body, context);
    return result.then(
      (value) => this.#finish(value, call, route, context),
      (error: unknown) => this.#fail(error, call, context),
    );
  }

  #finish(value: unknown, call: IncomingCall, route: Route, context: RapContext): void | Promise<void> {
    if (isObservable(value)) return this.#subscribe(value, call, route, context);
    if (isStream(value)) {
      this.#fail(streamFault(route), call, context);
      return;
    }
    return this.#reply(value, call, route, context);
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

  /** One value is the answer; none is a void answer; more are a stream, which a unary call cannot carry. */
  #subscribe(
    source: Observable<unknown>,
    call: IncomingCall,
    route: Route,
    context: RapContext,
  ): Promise<void> {
    return new Promise((resolve) => {
      let first: unknown;
      let count = 0;
      let subscription: Subscription | undefined;
      const finish = (work: () => void | Promise<void>): void => {
        subscription?.unsubscribe();
        if (!call.oneWay) call.signal.removeEventListener('abort', onAbort);
        resolve(work());
      };
      const onAbort = (): void => finish(() => call.ended());
      if (!call.oneWay) call.signal.addEventListener('abort', onAbort, { once: true });
      subscription = source.subscribe({
        next: (value) => {
          count += 1;
          if (count === 1) first = value;
          else if (!call.oneWay && !call.settled) {
            finish(() => this.#fail(streamFault(route), call, context));
          }
        },
        error: (error: unknown) => finish(() => this.#fail(error, call, context)),
        complete: () => finish(() => this.#reply(first, call, route, context)),
      });
      if (call.settled && !call.oneWay) subscription.unsubscribe();
    });
  }

  #fail(error: unknown, call: IncomingCall, context: RapContext): void {
    const { fault, name } = handlerFault(this.#exposed(error, context));
    call.fail(fault, name);
    call.ended();
  }

  /** With `exposeErrors`, the error that Nest masked in its own place. */
  #exposed(error: unknown, context: RapContext): unknown {
    if (!this.options.exposeErrors || context.failure === undefined) return error;
    const masked = (error as { message?: unknown } | null | undefined)?.message === MASKED_MESSAGE;
    return masked ? context.failure : error;
  }
}

function isStream(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

function streamFault(route: Route): Fault {
  return new Fault({
    status: Status.Channel,
    message: `${route.target} yields several values: use stream(), not call()`,
  });
}
