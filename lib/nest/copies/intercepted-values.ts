import type { InterceptorsConsumer } from '@nestjs/core/interceptors/interceptors-consumer.js';
import {
  concatMap,
  defer,
  finalize,
  isObservable,
  type Observable as RxObservable,
  type Subscriber,
  takeWhile,
  tap,
} from 'rxjs';
import { Fault } from '../../protocol/fault.js';
import { type CapturedContext, captureContext } from '../../rpc/context/async-context.js';
import type { ItemLink } from '../streams/item-link.js';
import { isGenerator } from '../handlers/method-metadata.js';
import { RapContext } from '../handlers/rap-context.js';
import {
  abandon,
  hearFailures,
  isStream,
  iteratorOf,
  leaveEarly,
  nextTurn,
  type Source,
  UnfilteredError,
} from '../streams/stream-source.js';

/** After this many items of a source that never waits, calls and other streams have their turn. */
const ITEMS_PER_TURN = 256;

type Intercept = InterceptorsConsumer['intercept'];

/** Methods that have returned a stream without being generators. */
const streaming = new WeakSet<object>();

/**
 * Shows interceptors the items of a stream, as those of an Observable, and not the generator that gives them: one that
 * serializes or wraps values (`ClassSerializerInterceptor`) then does so with each item. The handler's code runs in the
 * async context in which the innermost interceptor has called `next.handle()`, until it has ended. Nest cannot put an
 * interceptor behind all others: so the step in which it runs them is wrapped.
 * Nothing changes for other transports, nor for handlers without interceptors.
 *
 * @param Observable the class of that copy of Nest, which does not know any other
 */
export function showItemsToInterceptors(
  prototype: InterceptorsConsumer,
  Observable: typeof RxObservable,
): void {
  // oxlint-disable-next-line typescript/unbound-method -- called with its `this` below
  const original = prototype.intercept;
  // on the path of each call: named parameters cost less than a rest array
  prototype.intercept = function (
    this: InterceptorsConsumer,
    interceptors,
    args,
    instance,
    callback,
    next,
    type,
  ) {
    const context: unknown = args[1];
    if (!(interceptors?.length > 0) || !(context instanceof RapContext))
      return original.call(this, interceptors, args, instance, callback, next, type);
    context.isStreamOf = () => isGenerator(callback) || streaming.has(callback);
    const run = () => valuesOf(next, { context, method: callback, Observable });
    return original.call(this, interceptors, args, instance, callback, run, type);
  } as Intercept;
}

/** A call of a handler that has interceptors. */
interface Handling {
  readonly context: RapContext;
  readonly method: object;
  readonly Observable: typeof RxObservable;
}

/** Runs the handler. A source of several values keeps running in the context of this call. */
async function valuesOf(
  next: () => Promise<unknown>,
  { context, method, Observable }: Handling,
): Promise<unknown> {
  const scope = captureContext();
  context.isHandled = true;
  const result = await next();
  const itemsOf = (source: Source): RxObservable<unknown> =>
    new Observable((subscriber) => {
      const feed = new Feed(source, { subscriber, link: context.items, scope });
      void feed.run();
      return () => feed.leave();
    });
  if (isObservable(result)) {
    const items = flat(result, itemsOf, context.items);
    return new Observable((subscriber) => subscribedIn(scope, items, subscriber));
  }
  if (!isStream(result)) return result;
  streaming.add(method);
  return itemsOf(result);
}

/** The values of an Observable, and the items of each stream among them, in order. */
function flat(
  source: RxObservable<unknown>,
  itemsOf: (stream: Source) => RxObservable<unknown>,
  link: ItemLink,
): RxObservable<unknown> {
  return defer(() => {
    const waiting = new Set<Source>();
    return source.pipe(
      tap((value) => {
        if (!isStream(value)) return;
        hearFailures(value);
        waiting.add(value);
      }),
      concatMap((value) => {
        if (!isStream(value)) return [value];
        waiting.delete(value);
        return itemsOf(value);
      }),
      finalize(() => {
        for (const stream of waiting) link.leaving(abandon(stream));
      }),
    );
  });
}

/** Subscribes and unsubscribes in this context. */
function subscribedIn(
  scope: CapturedContext,
  source: RxObservable<unknown>,
  subscriber: Subscriber<unknown>,
): () => void {
  // with its own observer: teardown that is added to the subscriber itself runs in the context of the one that unsubscribes
  const subscription = scope.runInAsyncScope(() =>
    // a synchronous source must see between two values that it is unsubscribed from
    source.pipe(takeWhile(() => !subscriber.closed)).subscribe({
      next: (value) => subscriber.next(value),
      error: (error) => subscriber.error(error),
      complete: () => subscriber.complete(),
    }),
  );
  return () => scope.runInAsyncScope(() => subscription.unsubscribe());
}

interface FeedOptions {
  readonly subscriber: Subscriber<unknown>;
  readonly link: ItemLink;
  readonly scope: CapturedContext;
}

/** Emits the items of a stream, each when the previous one was taken. */
class Feed {
  #iterator: AsyncIterator<unknown> | Iterator<unknown> | undefined;
  #ended = false; // by the source itself

  constructor(
    private readonly source: Source,
    private readonly options: FeedOptions,
  ) {}

  async run(): Promise<void> {
    const { subscriber, link } = this.options;
    const { reader } = link;
    reader?.begin();
    let asking = true;
    try {
      const iterator = (this.#iterator = this.#inScope(() => iteratorOf(this.source)));
      const isAsync = Symbol.asyncIterator in this.source;
      for (let turn = 1; !subscriber.closed; turn++) {
        asking = true;
        const answer = this.#inScope(() => iterator.next());
        const { done, value } = (isAsync ? await answer : answer) as IteratorResult<unknown>;
        asking = false;
        if (done) {
          this.#ended = true;
          return subscriber.complete();
        }
        subscriber.next(value);
        await reader?.taken();
        if (turn % ITEMS_PER_TURN === 0) await nextTurn();
      }
    } catch (error) {
      this.#ended ||= asking;
      if (error instanceof Fault && reader) reader.fail(error);
      else subscriber.error(error instanceof UnfilteredError ? error.error : error);
    }
  }

  /** Ends the source at once, also while an item is awaited. */
  leave(): void {
    const iterator = this.#iterator;
    if (this.#ended || !iterator) return;
    this.#ended = true;
    this.options.link.leaving(this.#inScope(() => leaveEarly(this.source, iterator)));
  }

  #inScope<T>(work: () => T): T {
    return this.options.scope.runInAsyncScope(work);
  }
}
