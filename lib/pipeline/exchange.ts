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

/** What processors leave to whoever loaded them. */
export interface ProcessorsOptions {
  /** What a throw of a processor is on the wire. */
  toFault(error: unknown): NamedFault;
  /** A fault as the application knows it. */
  toPublic(error: unknown): unknown;
  /** Something failed of which no caller can be told. */
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

  /** What a throw of a processor is, on either side. A client's caller gets the thrown thing itself. */
  faultOf(error: unknown, side: 'client' | 'server'): NamedFault {
    const named = this.options.toFault(error);
    return side === 'client' ? { ...named, fault: new ThrownFault(error, named.fault) } : named;
  }
}

/** One call or channel on its way through the processors. */
export class Exchange {
  /** Processors that requests have come to: answers go back through these. */
  #reached = 0;
  /** Processors that were told of its begin, in order; each is told of its end. */
  #entered = 0;
  #exited = false;
  #error: unknown;
  /** The async context that the call has begun in. */
  #scope: CapturedContext | undefined;

  constructor(
    readonly processors: Processors,
    readonly context: CallContext,
    private readonly limits: FrameLimits = DEFAULT_FRAME_LIMITS,
  ) {}

  /** A message of it. */
  message(lifeCycle: string | undefined, header: Header | null, body: unknown, bytes = 0): MessageView {
    return new MessageView(this.context, lifeCycle, header, body, bytes);
  }

  /**
   * A message that this side sends. Its body is what it was when it was handed over, however long the processors take.
   *
   * @throws Fault where it cannot be read
   */
  outgoing(lifeCycle: string | undefined, header: Header | null, body: unknown): MessageView {
    return this.message(lifeCycle, header, heldValue(hold(body, this.limits, true)));
  }

  /**
   * The first message towards the handler, once every processor knows of the call.
   *
   * @throws (or rejects with) what a processor throws
   */
  begin(request: MessageView): void | Promise<void> {
    try {
      if (!this.processors.watchesContexts) return this.request(request);
      const entering = this.#enter(0);
      return entering ? entering.then(() => this.request(request)) : this.request(request);
    } finally {
      this.#scope = captureContext(); // with what the processors have entered
    }
  }

  /** Does what something else than the call has brought about, such as a frame or a timer, in the context of the call. */
  inScope<A, T>(work: (argument: A) => T, argument: A): T {
    return this.#scope ? this.#scope.runInAsyncScope(work, this, argument) : work.call(this, argument);
  }

  /** The async context that the call has begun in. */
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

  /** A message towards the caller. Never fails: what a processor throws becomes the message's error, for the others too. */
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

  /** A message from the peer; `fault` of the view says what became of it. */
  inbound(message: MessageView): void | Promise<void> {
    return this.inScope((it) => (this.#isOfClient ? this.response(it) : this.request(it)), message);
  }

  /** A message to the peer. */
  outbound(message: MessageView): void | Promise<void> {
    if (!this.#isOfClient) return this.response(message);
    return this.inScope((it) => this.request(it), message);
  }

  /** The error that a message has become. */
  faultIn(message: MessageView): NamedFault | undefined {
    const { error, named } = message;
    if (error === undefined) return undefined;
    if (named?.fault === error) return named;
    return error instanceof Fault ? { fault: error, name: nameOf(error) } : this.faultOf(error);
  }

  faultOf(error: unknown): NamedFault {
    return this.processors.faultOf(error, this.context.side);
  }

  /** It is over. Everyone who was told of its begin is told, once, the last first. */
  exit(error?: unknown): void {
    if (this.#exited) return;
    this.#exited = true;
    if (this.#entered === 0) return;
    this.#error = error === undefined ? undefined : this.processors.options.toPublic(error);
    // a client hears of it from a frame or a timer, a server from the handler
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
    // it was over before this one was ready
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

/** Ends the way of a message whose call is over. Nobody waits for it. */
class ExchangeOver extends Error {}
