import type { Readable } from 'node:stream';
import { Observable, of, type Subscriber } from 'rxjs';
import { queueMicrotask } from '../../../net/runtime.js';
import type { Channel } from '../../../rpc/channel/channel.js';
import type { Outcome } from '../calls/client-attempt.js';
import { ObserverOutcome } from '../calls/client-outcome.js';
import type { HookedCalls } from '../calls/hooked-calls.js';
import type { RapCallOptions } from '../calls/rap-session.js';
import { ChannelError } from '../../errors/errors.js';
import { forgettable } from '../../errors/forgettable.js';
import { INTEROP, type RapReadableOptions } from '../../streams/iterated.js';
import {
  ClientStream,
  type OpenStream,
  type RapIterable,
  type StreamView,
} from '../../streams/rap-stream.js';

/** What an undecided call needs of its client. */
export interface UndecidedCallOptions<T> {
  readonly target: string;
  /** Opens it as a stream. */
  readonly open: OpenStream;
  /** Sends it as a call, whose answer says whether it streams. Returns what cancels it. */
  readonly start: (outcome: Outcome<T>) => () => void;
  readonly view: StreamView<T>;
}

/** A call of a method that may stream, with the parameters as they are now. */
export function undecidedCall<T>(
  calls: HookedCalls,
  target: string,
  data: unknown,
  options: RapCallOptions | undefined,
): UndecidedCall<T> {
  const parameters = calls.held(data);
  return new UndecidedCall<T>({
    target,
    open: calls.opener(target, parameters, options),
    start: (outcome) => calls.startHeld(target, parameters, options, outcome),
    view: calls.view(),
  });
}

/**
 * A call of a method that may stream: how it is used decides. If it is read as a stream, a stream is opened for each reader.
 * Otherwise it is a call, sent in the next microtask whether or not it is awaited, and resolves to a value, or to a stream
 * if the answer is one. A failure that nobody awaits is logged.
 */
export class UndecidedCall<T> extends ClientStream<T> implements Promise<T | RapIterable<T>> {
  readonly [Symbol.toStringTag] = 'UndecidedCall';
  readonly #options: UndecidedCallOptions<T>;
  #isStream = false;
  #answer: Promise<T | Answered<T>> | undefined;
  /** Cancels the call that brings the answer. */
  #cancel: (() => void) | undefined;
  /** The answer was handed out. */
  #isTaken = false;

  constructor(options: UndecidedCallOptions<T>) {
    super((reader) => {
      if (!this.#answer || this.#isTaken) return options.open(reader);
      reader.whenLeft = this.#cancel;
      return this.#answeredChannel();
    }, options.view);
    this.#options = options;
    queueMicrotask(() => {
      if (!this.#isStream) void this.#ask();
    });
  }

  // --- as a promise -------------------------------------------------------------------------------------------

  // oxlint-disable-next-line unicorn/no-thenable -- it is a promise
  then<A = T | RapIterable<T>, B = never>(
    onResolved?: ((value: T | RapIterable<T>) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#take().then(onResolved, onRejected);
  }

  catch<B = never>(
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<T | RapIterable<T> | B> {
    return this.then(undefined, onRejected);
  }

  finally(onSettled?: (() => void) | null): Promise<T | RapIterable<T>> {
    return this.#take().finally(onSettled);
  }

  #ask(): Promise<T | Answered<T>> {
    const { target, start, view } = this.#options;
    this.#answer ??= forgettable(
      new Promise((resolve, reject) => {
        this.#cancel = start({
          resolve,
          reject,
          isPromise: true,
          stream: (channel) => resolve(new Answered<T>(channel, view)),
        });
      }),
      target,
    );
    return this.#answer;
  }

  #take(): Promise<T | Answered<T>> {
    const answer = this.#ask();
    this.#isTaken = true;
    return answer;
  }

  // --- as a stream --------------------------------------------------------------------------------------------

  override [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    this.#isStream = true;
    return super[Symbol.asyncIterator]();
  }

  override toObservable(): Observable<T> {
    this.#isStream = true;
    return super.toObservable();
  }

  override toReadable(options?: RapReadableOptions): Readable {
    this.#isStream = true;
    return super.toReadable(options);
  }

  async #answeredChannel(): Promise<Channel> {
    const answer = await this.#take();
    if (answer instanceof Answered) return answer.channel;
    const { target } = this.#options;
    throw new ChannelError(`${target} is unary: await it; one that streams says so by kind: 'stream'`);
  }

  /** `from()` accepts promises as well as streams: like `client.send()`, this emits the one value, or every item. */
  override [INTEROP](): Observable<T> {
    return new Observable((observer) => {
      const { start, view } = this.#options;
      if (this.#answer && !this.#isTaken) {
        this.#tell(observer);
        return this.#cancel;
      }
      this.#isStream = true;
      return start(new ObserverOutcome(observer, view));
    });
  }

  #tell(observer: Subscriber<T>): void {
    this.#take().then(
      (answer) => {
        const values = answer instanceof Answered ? answer.toObservable() : of(answer);
        values.subscribe(observer);
      },
      (error: unknown) => observer.error(error),
    );
  }
}

/** The stream that a call was answered with. */
class Answered<T> extends ClientStream<T> {
  constructor(
    readonly channel: Channel,
    view: StreamView<T>,
  ) {
    super(() => channel, view);
  }
}
