import { AsyncResource } from 'node:async_hooks';
import { isObservable } from 'rxjs';
import { TimeLimit } from '../../rpc/time/deadline-queue.js';
import type { AnyIncoming } from '../../rpc/server/any-incoming.js';
import type { IncomingCall } from '../../rpc/server/incoming-call.js';
import type { IncomingChannel } from '../../rpc/server/incoming-channel.js';
import type { ChannelMessage } from '../../rpc/channel/message-queue.js';
import { pumpAnswer } from './answer-sink.js';
import type { BodyCodec } from './body-codec.js';
import type { CallFailures } from './call-failures.js';
import { runInScope } from '../handlers/call-scope.js';
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
  /** The hook of the moment, if one is set. */
  end(): ((context: RapContext) => void) | undefined;
}

export interface DispatcherOptions {
  readonly hooks: ProcessingHooks;
  readonly failures: CallFailures;
  /** The codec of the moment: Nest's serializers may be set at any time. */
  readonly codec: () => BodyCodec;
}

/** What is known of a stream when its parameters have come. */
export interface StreamJob {
  readonly parameters: ChannelMessage;
  readonly incoming: IncomingChannel;
  readonly route: Route;
  readonly context: RapContext;
  /** Time in milliseconds for the handler to return a stream, unless something else limits it. */
  readonly runTimeoutMs: number;
}

/** Takes calls and channels through Nest's handlers (guards, interceptors, pipes, method, filters) to their answers. */
export class CallDispatcher {
  protected readonly failures: CallFailures;

  constructor(private readonly options: DispatcherOptions) {
    this.failures = options.failures;
  }

  /** A unary call, or an event. */
  dispatch(call: IncomingCall, route: Route): void {
    this.#begin(call, route, (context) => this.answer(call, route, context));
  }

  /** A channel: its handler gets it as its payload. */
  converse(incoming: IncomingChannel, route: Route): void {
    if (!incoming.takeSlot()) return;
    incoming.open();
    if (incoming.settled) return incoming.ended(); // a processor has failed the answer
    this.#begin(incoming, route, (context) => this.#converse(incoming, route, context));
  }

  /** A stream: its handler gets the channel's first message as its payload, which must come within `runTimeoutMs`. */
  stream(incoming: IncomingChannel, route: Route, runTimeoutMs: number): void {
    const { deadlines, channel } = incoming;
    incoming.open();
    if (incoming.settled) return incoming.ended();
    const limit = new TimeLimit(() => incoming.fail(parametersFault(route, runTimeoutMs), 'ChannelError'));
    deadlines.add(limit, runTimeoutMs);
    channel.whenClosed(() => deadlines.remove(limit));
    channel.read().then(
      (parameters) => {
        deadlines.remove(limit);
        if (parameters && !incoming.takeSlot()) return;
        channel.expectNoMessages();
        if (incoming.settled) return incoming.ended();
        if (parameters)
          this.#begin(incoming, route, (context) =>
            this.#stream({ parameters, incoming, route, context, runTimeoutMs }),
          );
        else {
          // the client has gone, or has ended its side, before it sent parameters: the function does not run
          incoming.fail(noParametersFault(route), 'ChannelError');
          incoming.ended();
        }
      },
      () => incoming.ended(),
    );
  }

  /** Answers a call with what its handler gives. */
  protected answer(call: IncomingCall, route: Route, context: RapContext): Promise<void> {
    return this.handle(call, route, context).then(
      (value) => {
        if (isValues(value)) return this.#answerValues(value, call, route, context);
        return this.#reply(value, call);
      },
      (error: unknown) => this.failures.fail(new UnfilteredError(error), call, context),
    );
  }

  /** Runs the handler of a call. */
  protected handle(call: IncomingCall, route: Route, context: RapContext): Promise<unknown> {
    // Nest's handlers give promises; one that was added by hand may give anything
    const result: unknown = this.options.codec().handle(route, call.body, context);
    return result instanceof Promise ? result : Promise.resolve(result);
  }

  /** Sends the one value that a call is answered with. */
  protected send(value: unknown, call: IncomingCall): void | Promise<void> {
    return this.options.codec().reply(call, value);
  }

  /** Runs the handler of a stream and sends what that gives. */
  protected answerStream(job: StreamJob): Promise<void> {
    return this.run(job.parameters.body, job);
  }

  /** Runs the handler, which has the time of a call to return a stream, and sends that. */
  protected async run(body: unknown, { incoming, route, context, runTimeoutMs }: StreamJob): Promise<void> {
    const hasOwnLimit = incoming.timeLeftMs !== undefined;
    if (!hasOwnLimit) incoming.limitRun(runTimeoutMs);
    const result: unknown = await unfiltered(this.options.codec().handle(route, body, context));
    if (!hasOwnLimit) incoming.unlimit();
    if (!isValues(result)) throw unaryFault(route);
    await pump(result, incoming.channel, context.items);
    context.assertNotKept();
  }

  /** Runs the hooks of Nest around `work`, which never rejects. */
  #begin(incoming: AnyIncoming, route: Route, work: (context: RapContext) => Promise<void>): void {
    const context = new RapContext(incoming, route);
    const { hooks } = this.options;
    const run = (): Promise<void> => {
      // the call was over before its handler could start
      if (incoming.settled) return Promise.resolve(incoming.ended());
      const end = hooks.end();
      // the end hook finds its trace in the context of the start hook, also when a socket event ends the call
      if (end) incoming.onSettled = AsyncResource.bind(() => this.failures.guarded(() => end(context)));
      return runInScope(incoming, context, () => work(context));
    };
    try {
      const started = hooks.start(context, run);
      if (started instanceof Promise) {
        started.catch((error) => this.failures.fail(new UnfilteredError(error), incoming, context));
      }
    } catch (error) {
      this.failures.fail(new UnfilteredError(error), incoming, context);
    }
  }

  async #answerValues(values: Values, call: IncomingCall, route: Route, context: RapContext): Promise<void> {
    let single;
    try {
      single = await pumpAnswer(values, call, route, context.items);
      context.assertNotKept();
    } catch (error) {
      return this.failures.fail(error, call, context);
    }
    if (single) return this.#reply(single.value, call);
    call.ended();
  }

  #reply(value: unknown, call: IncomingCall): void | Promise<void> {
    const sent = this.send(value, call);
    if (sent) return sent.then(() => call.ended());
    call.ended();
  }

  /** `@ChannelPattern`: the channel ends when the handler does. */
  async #converse(incoming: IncomingChannel, route: Route, context: RapContext): Promise<void> {
    try {
      const result: unknown = await unfiltered(route.handler(new RapChannel(incoming.channel), context));
      // an interceptor has made an Observable of it, which waits to be subscribed to
      if (isObservable(result)) await pumpObservable(result, NOWHERE, context.items);
    } catch (error) {
      return this.failures.fail(error, incoming, context);
    }
    incoming.close();
    incoming.ended();
  }

  /** A stream: parameters in, items out. */
  async #stream(job: StreamJob): Promise<void> {
    const { incoming, context } = job;
    try {
      await this.answerStream(job);
    } catch (error) {
      return this.failures.fail(error, incoming, context);
    }
    incoming.close();
    incoming.ended();
  }
}

/** Nest's handlers never reject: one that does was added by hand, or its filter failed. */
export async function unfiltered(result: unknown): Promise<unknown> {
  try {
    return await result;
  } catch (error) {
    throw new UnfilteredError(error);
  }
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
