import type { ReadPacket } from '@nestjs/microservices';
import { toRapError } from '../../errors/to-rap-error.js';
import { rejection } from '../../errors/failed-call.js';
import {
  ClientStream,
  type OpenStream,
  type RapIterable,
  type StreamView,
} from '../../streams/rap-stream.js';
import type { Outcome } from './client-attempt.js';
import type { ClientCalls } from './client-calls.js';
import { inThisContext } from './client-outcome.js';
import type { RapCallOptions } from './rap-session.js';

const NOTHING = (): void => {};

/** The methods of Nest's `ClientProxy` that a subclass, or instrumentation, may override. */
export interface ClientHooks {
  createPacket(pattern: unknown, data: unknown): ReadPacket;
  serializeResponse(response: unknown): unknown;
  /** Gets errors of rap. */
  serializeError(error: unknown): unknown;
  /** Whether responses or errors are serialized by a subclass: its methods run in the async context of the caller. */
  isSubclassed(): boolean;
}

/** Calls by pattern, whose packets, responses and errors go through the hooks of the client. */
export class HookedCalls {
  readonly #view: StreamView<unknown>;

  constructor(
    private readonly calls: ClientCalls,
    private readonly hooks: ClientHooks,
  ) {
    this.#view = {
      value: (value) => hooks.serializeResponse(value),
      error: (error) => hooks.serializeError(error),
    };
  }

  /** Values and errors of a stream, as the hooks make them. */
  view<T>(): StreamView<T> {
    return this.#view as StreamView<T>;
  }

  /**
   * Sends a call now, or as soon as there is a connection. Every failure goes to the outcome. Returns what cancels the call.
   *
   * @param runsCallbacks the outcome runs code of the application by itself, as a promise does not
   */
  start<T>(
    pattern: unknown,
    data: unknown,
    options: RapCallOptions | undefined,
    outcome: Outcome<T>,
    runsCallbacks = this.hooks.isSubclassed(),
  ): () => void {
    const { calls, hooks } = this;
    const hooked = new HookedOutcome(outcome, hooks);
    try {
      // a promise continues in the context of its caller by itself
      return calls.start(
        hooks.createPacket(pattern, data),
        options,
        runsCallbacks ? inThisContext(hooked) : hooked,
      );
    } catch (error) {
      return this.#refused(error, outcome);
    }
  }

  /** As {@link start}, with parameters that {@link ClientCalls.held} keeps. */
  startHeld<T>(
    pattern: unknown,
    parameters: () => unknown,
    options: RapCallOptions | undefined,
    outcome: Outcome<T>,
  ): () => void {
    let data: unknown;
    try {
      data = parameters();
    } catch (error) {
      return this.#refused(error, outcome);
    }
    return this.start(pattern, data, options, outcome, true);
  }

  #refused(error: unknown, outcome: Outcome<never>): () => void {
    outcome.reject(this.hooks.serializeError(toRapError(error)));
    return NOTHING;
  }

  call<T>(pattern: unknown, data: unknown, options: RapCallOptions | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      this.start<T>(pattern, data, options, new PromiseOutcome(resolve, reject));
    });
  }

  /** A value, or a stream if the function answers with one. */
  execute<T>(
    pattern: unknown,
    data: unknown,
    options: RapCallOptions | undefined,
  ): Promise<T | RapIterable<T>> {
    return new Promise((resolve, reject) => {
      this.start<T>(pattern, data, options, {
        resolve,
        reject,
        isPromise: true,
        stream: (channel) => resolve(new ClientStream<T>(() => channel, this.view())),
      });
    });
  }

  stream<T>(pattern: unknown, data: unknown, options: RapCallOptions | undefined): RapIterable<T> {
    // it may start much later, and several times: with the parameters as they are now
    return new ClientStream<T>(this.opener(pattern, this.held(data), options), this.view());
  }

  /** See {@link ClientCalls.held}. */
  held(data: unknown): () => unknown {
    return this.calls.held(data);
  }

  /** See {@link ClientChannels.opener}. */
  opener(pattern: unknown, parameters: () => unknown, options: RapCallOptions | undefined): OpenStream {
    return this.calls.channels.opener(() => this.hooks.createPacket(pattern, undefined), parameters, options);
  }
}

// What is made for each call has a class. V8 allocates object literals in the old generation once many of a kind were seen to
// live on, as those of calls in flight do; from there each would keep its call alive until the next full collection.

/** The outcome of a call as a promise. */
class PromiseOutcome<T> implements Outcome<T> {
  constructor(
    readonly resolve: (value: T) => void,
    readonly reject: (error: unknown) => void,
  ) {}

  get isPromise(): boolean {
    return true;
  }
}

/** Passes the outcome of a call on through the hooks. */
class HookedOutcome<T> implements Outcome<T> {
  readonly stream: Outcome<T>['stream'];

  constructor(
    private readonly outcome: Outcome<T>,
    private readonly hooks: ClientHooks,
  ) {
    this.stream = outcome.stream && ((channel) => outcome.stream?.(channel));
  }

  resolve(value: T): void {
    const { outcome, hooks } = this;
    let response: T;
    try {
      response = hooks.serializeResponse(value) as T;
    } catch (error) {
      return outcome.reject(hooks.serializeError(error));
    }
    outcome.resolve(response);
  }

  reject(error: unknown): void {
    const { outcome, hooks } = this;
    const serialized = hooks.serializeError(error);
    if (outcome.isPromise) outcome.resolve(rejection(serialized) as T);
    else outcome.reject(serialized);
  }
}
