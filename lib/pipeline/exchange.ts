/* oxlint-disable typescript/unbound-method -- a function that runs in a context is called on its object */
import { hold } from '../protocol/encoder.js';
import { Fault } from '../protocol/fault.js';
import { heldValue } from '../protocol/held-body.js';
import { DEFAULT_FRAME_LIMITS, type FrameLimits } from '../protocol/limits.js';
import type { Header } from '../protocol/frame.js';
import { isThenable } from '../protocol/values/unknown.js';
import { type NamedFault, nameOf } from '../protocol/wire-error.js';
import { type CapturedContext, captureContext } from '../rpc/context/async-context.js';
import type { RapProcessor, RapResponse } from './api.js';
import type { CallContext } from './call-context.js';
import { MessageView } from './message-view.js';
import { ThrownFault } from './thrown-fault.js';

/** What processors need from the server or client. */
export interface ProcessorsOptions {
  /** The wire error for what a processor threw. */
  toFault(error: unknown): NamedFault;
  /** The public error class for a fault. */
  toPublic(error: unknown): unknown;
  /** An error that no caller can get. */
  onError(error: unknown): void;
}

/** The processors of a server or client, in the order in which they were loaded. */
export class Processors {
  readonly watchesContexts: boolean;

  constructor(
    readonly list: readonly RapProcessor[],
    readonly options: ProcessorsOptions,
  ) {
    this.watchesContexts = list.some((it) => 'onContextEnter' in it || 'onContextExit' in it);
  }

  /** The fault for what a processor threw. On a client, the caller gets the thrown value itself. */
  faultOf(error: unknown, side: 'client' | 'server'): NamedFault {
    const named = this.options.toFault(error);
    return side === 'client' ? { ...named, fault: new ThrownFault(error, named.fault) } : named;
  }
}

/** One call or channel that goes through the processors. */
export class Exchange {
  /** Processors that requests have passed: responses go back through these. */
  #reached = 0;
  /** Processors whose `onContextEnter` has run: only these get `onContextExit`. */
  #entered = 0;
  #exited = false;
  #error: unknown;
  /** The async context after `begin`. */
  #scope: CapturedContext | undefined;

  constructor(
    readonly processors: Processors,
    readonly context: CallContext,
    private readonly limits: FrameLimits = DEFAULT_FRAME_LIMITS,
  ) {}

  message(lifeCycle: string | undefined, header: Header | null, body: unknown, bytes = 0): MessageView {
    return new MessageView(this.context, lifeCycle, header, body, bytes);
  }

  /**
   * An outgoing message, with a snapshot of the body: processors may be asynchronous.
   *
   * @throws Fault if the body cannot be encoded
   */
  outgoing(lifeCycle: string | undefined, header: Header | null, body: unknown): MessageView {
    return this.message(lifeCycle, header, heldValue(hold(body, this.limits, true)));
  }

  /**
   * The first message towards the handler, after `onContextEnter` of all processors.
   *
   * @throws (or rejects with) what a processor throws
   */
  begin(request: MessageView): void | Promise<void> {
    try {
      if (!this.processors.watchesContexts) return this.request(request);
      const entering = this.#enter(0);
      return entering ? entering.then(() => this.request(request)) : this.request(request);
    } finally {
      this.#scope = captureContext(); // including what processors entered, such as `AsyncLocalStorage.enterWith`
    }
  }

  /** Runs work started by something else than the call, such as a frame or a timer, in the async context of the call. */
  inScope<A, T>(work: (argument: A) => T, argument: A): T {
    return this.#scope ? this.#scope.runInAsyncScope(work, this, argument) : work.call(this, argument);
  }

  /** The async context after `begin`. */
  get scope(): CapturedContext | undefined {
    return this.#scope;
  }

  /** A message towards the handler. @throws (or rejects with) what a processor throws */
  request(request: MessageView, from = 0): void | Promise<void> {
    const { list } = this.processors;
    for (let i = from; i < list.length; i++) {
      const result = list[i]?.processRequest?.(request, this.context);
      if (isThenable(result)) {
        return result.then((other) => {
          if (this.#exited) throw new ExchangeOver();
          if (other !== undefined) request.replaceBy(other);
          if (i >= this.#reached) this.#reached = i + 1;
          return this.request(request, i + 1);
        });
      }
      if (result !== undefined) request.replaceBy(result);
      if (i >= this.#reached) this.#reached = i + 1;
    }
  }

  /** A message towards the caller. Never fails: what a processor throws becomes the message's error, also for the remaining ones. */
  response(response: MessageView, from = this.#reached): void | Promise<void> {
    const { list } = this.processors;
    for (let i = from - 1; i >= 0; i--) {
      try {
        const result = list[i]?.processResponse?.(response, this.context);
        if (isThenable(result)) return this.#responseAfter(result, response, i);
        if (result !== undefined) response.replaceBy(result);
      } catch (error) {
        response.fail(this.faultOf(error));
      }
    }
  }

  /** A message from the peer; see `faultIn` for the outcome. */
  inbound(message: MessageView): void | Promise<void> {
    return this.inScope((it) => (this.#isOfClient ? this.response(it) : this.request(it)), message);
  }

  /** A message to the peer. */
  outbound(message: MessageView): void | Promise<void> {
    if (!this.#isOfClient) return this.response(message);
    return this.inScope((it) => this.request(it), message);
  }

  /** The error of a message after the processors. */
  faultIn(message: MessageView): NamedFault | undefined {
    const { error, named } = message;
    if (error === undefined) return undefined;
    if (named?.fault === error) return named;
    return error instanceof Fault ? { fault: error, name: nameOf(error) } : this.faultOf(error);
  }

  faultOf(error: unknown): NamedFault {
    return this.processors.faultOf(error, this.context.side);
  }

  /** It has ended: calls `onContextExit` of the entered processors, once, in reverse order. */
  exit(error?: unknown): void {
    if (this.#exited) return;
    this.#exited = true;
    if (this.#entered === 0) return;
    this.#error = error === undefined ? undefined : this.processors.options.toPublic(error);
    // on a client a frame or timer ends it, outside its context; on a server the handler does
    if (this.#isOfClient) this.inScope(this.#exitAll, undefined);
    else this.#exitAll();
  }

  get #isOfClient(): boolean {
    return this.context.side === 'client';
  }

  #exitAll(): void {
    for (let i = this.#entered - 1; i >= 0; i--) this.#exitOf(i);
  }

  #enter(from: number): void | Promise<void> {
    const { list } = this.processors;
    for (let i = from; i < list.length; i++) {
      const result = list[i]?.onContextEnter?.(this.context);
      if (isThenable(result)) {
        return result.then(() => {
          this.#wasEntered(i);
          return this.#enter(i + 1);
        });
      }
      this.#wasEntered(i);
    }
  }

  #wasEntered(i: number): void {
    this.#entered = i + 1;
    // the exchange ended while this processor was entering
    if (!this.#exited) return;
    this.#exitOf(i);
    throw new ExchangeOver();
  }

  #exitOf(i: number): void {
    const { list, options } = this.processors;
    try {
      const result = list[i]?.onContextExit?.(this.context, this.#error);
      if (isThenable(result)) result.then(undefined, (error: unknown) => options.onError(error));
    } catch (error) {
      options.onError(error);
    }
  }

  async #responseAfter(
    pending: PromiseLike<void | RapResponse>,
    response: MessageView,
    i: number,
  ): Promise<void> {
    try {
      const other = await pending;
      if (other !== undefined) response.replaceBy(other);
    } catch (error) {
      response.fail(this.faultOf(error));
    }
    if (!this.#exited) await this.response(response, i);
  }
}

/** Stops a message whose call has ended. Nobody waits for it. */
class ExchangeOver extends Error {}
