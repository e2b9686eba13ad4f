import { Readable, type ReadableOptions } from 'node:stream';
import { observable, Observable, type Subscriber } from 'rxjs';
import { captureContext } from '../../rpc/context/async-context.js';
import { ChannelError } from '../errors/errors.js';

/** Options of `toReadable()`. `highWaterMark` counts items (default 1), or bytes with `objectMode: false`. */
export type RapReadableOptions = Pick<
  ReadableOptions,
  'highWaterMark' | 'objectMode' | 'encoding' | 'signal'
>;

/**
 * The method that RxJS calls on an object that is not itself an Observable. `from()` would iterate instead, and could not stop
 * before the next item. The types of RxJS say only that the key is a text or symbol.
 */
export const INTEROP: unique symbol = observable as never;

/** Items as an Observable: each subscriber has its own iterator, which ends at once when it unsubscribes. */
export function observableOf<T>(items: AsyncIterable<T>): Observable<T> {
  return new Observable((observer) => {
    const iterator = items[Symbol.asyncIterator]();
    void feed(iterator, observer);
    return () => void iterator.return?.();
  });
}

/** Never rejects. */
async function feed<T>(iterator: AsyncIterator<T>, observer: Subscriber<T>): Promise<void> {
  try {
    for (let item = await iterator.next(); !item.done; item = await iterator.next()) {
      observer.next(item.value);
      if (observer.closed) return;
    }
    observer.complete();
  } catch (error) {
    observer.error(error);
  }
}

/**
 * Items as a Readable, which takes the next one when it is read, in the async context of the caller, and ends the iterator
 * at once when it is destroyed.
 */
export function readableOf<T>(items: AsyncIterable<T>, options?: RapReadableOptions): Readable {
  const context = captureContext();
  let iterator: AsyncIterator<T> | undefined;
  const readable: Readable = new Readable({
    objectMode: true,
    ...(options?.objectMode === false ? {} : { highWaterMark: 1 }),
    ...options,
    read: () => void context.runInAsyncScope(readNext),
    destroy(error, callback) {
      const left = iterator?.return?.() ?? Promise.resolve();
      left.then(() => callback(error), callback);
    },
  });
  const readNext = async (): Promise<void> => {
    try {
      iterator ??= items[Symbol.asyncIterator]();
      const { done, value } = await iterator.next();
      if (readable.destroyed) return;
      if (done) readable.push(null);
      else if (value === null) throw new ChannelError('an item is null, which is the end to a Readable');
      else readable.push(value);
    } catch (error) {
      readable.destroy(error as Error);
    }
  };
  return readable;
}
