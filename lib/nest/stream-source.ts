import { takeWhile, type Observable, type Subscription } from 'rxjs';
import { Encoder } from '../protocol/encoder.js';
import { Fault } from '../protocol/fault.js';
import { Status } from '../protocol/status.js';

/** Values of a push source that wait for the reader. */
const MAX_BUFFERED_ITEMS = 1024;
const MAX_BUFFERED_BYTES = 1024 * 1024;

/** Items of a source that never waits are written so many at a time; then calls and other streams have their turn. */
const ITEMS_PER_TURN = 256;

/** Where the values of a stream go. */
export interface StreamSink {
  /** A stream begins, however many values it has. Throws where the receiver knows no streams. */
  begin?(): void;
  /** Takes a value if there is room. */
  tryWrite(value: unknown): boolean;
  /** Takes a value as soon as there is room. Rejects when the stream is over. */
  write(value: unknown): Promise<void>;
  /** Calls back once when the stream is over and nobody wants more. */
  whenClosed(callback: () => void): void;
  readonly isClosed: boolean;
}

/**
 * Whether a handler's result is a stream: an async iterable (an `async *` generator, a Node Readable), or an iterator
 * such as a generator's. Arrays, maps and sets are values.
 */
export function isStream(value: unknown): value is AsyncIterable<unknown> | Iterable<unknown> {
  if (typeof value !== 'object' || value === null) return false;
  if (Symbol.asyncIterator in value) return true;
  return Symbol.iterator in value && 'next' in value && typeof value.next === 'function';
}

/** What a generator threw after its handler had returned: no filter of Nest has seen it. */
export class UnfilteredError {
  constructor(readonly error: unknown) {}
}

/**
 * Writes a source to its end, never faster than the reader reads. When nobody wants more, the iterator's `return()` is
 * called at once, also while a `next()` is pending. Resolves when the source has ended.
 *
 * @throws {@link UnfilteredError} with what the source throws; a Fault where a value cannot be sent
 */
export async function pumpIterable(
  source: AsyncIterable<unknown> | Iterable<unknown>,
  sink: StreamSink,
): Promise<void> {
  const iterator = iteratorOf(source);
  let ended = false; // by the source itself
  let leaving: Promise<unknown> | undefined;
  const leave = (): void => {
    if (!ended) leaving ??= leaveEarly(source, iterator);
  };
  sink.whenClosed(leave);
  try {
    sink.begin?.();
    for (let turn = 1; !sink.isClosed; turn++) {
      const value = await nextOf(iterator);
      if (value === ENDED) {
        ended = true;
        return;
      }
      if (!sink.isClosed && !sink.tryWrite(value)) await sink.write(value).catch(rethrowUnlessClosed(sink));
      if (turn % ITEMS_PER_TURN === 0) await nextTurn();
    }
  } catch (error) {
    if (error instanceof UnfilteredError) ended = true;
    if (!sink.isClosed) throw error;
  } finally {
    leave();
    await leaving;
  }
}

function iteratorOf(
  source: AsyncIterable<unknown> | Iterable<unknown>,
): AsyncIterator<unknown> | Iterator<unknown> {
  try {
    return Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  } catch (error) {
    throw new UnfilteredError(error);
  }
}

const ENDED = Symbol('ended');

async function nextOf(iterator: AsyncIterator<unknown> | Iterator<unknown>): Promise<unknown> {
  try {
    const { done, value } = await iterator.next();
    return done ? ENDED : value;
  } catch (error) {
    throw new UnfilteredError(error);
  }
}

/** Lets a source clean up. What it fails with on leaving is for nobody. */
async function leaveEarly(
  source: object,
  iterator: AsyncIterator<unknown> | Iterator<unknown>,
): Promise<void> {
  try {
    // a Readable that waits for data would answer only when it has some
    if ('destroy' in source && typeof source.destroy === 'function') source.destroy();
    await iterator.return?.();
  } catch {
    // nobody waits for it
  }
}

/**
 * Writes an Observable to its end. It cannot be slowed down: what the reader has not taken is kept, up to 1024 values or
 * 1 MiB, then the stream fails with 1008. A value that is itself a stream is written value by value: an interceptor
 * around a generator makes one of these.
 *
 * @throws what the source fails with
 */
export function pumpObservable(source: Observable<unknown>, sink: StreamSink): Promise<void> {
  return new Promise((resolve, reject) => {
    const buffer: unknown[] = [];
    let bytes = 0;
    let writing = false;
    let completed = false;
    let failure: unknown;
    let over = false;
    let subscription: Subscription | undefined;
    const finish = (error?: unknown): void => {
      over = true;
      try {
        subscription?.unsubscribe();
      } catch {
        // what its clean-up fails with is for nobody
      }
      if (error === undefined) resolve();
      else reject(error);
    };
    const isOver = (): boolean => over || sink.isClosed;
    const drain = async (): Promise<void> => {
      writing = true;
      while (buffer.length > 0 && !isOver()) {
        const value = buffer.shift();
        bytes -= sizeOf(value);
        if (isStream(value)) await pumpIterable(value, sink);
        else await sink.write(value).catch(rethrowUnlessClosed(sink));
      }
      writing = false;
      if (completed || sink.isClosed) finish(failure);
    };
    // a source that never pauses sees between two values that it is over
    subscription = source.pipe(takeWhile(() => !isOver())).subscribe({
      next(value) {
        try {
          if (!writing && !isStream(value) && sink.tryWrite(value)) return;
        } catch (error) {
          return finish(error);
        }
        buffer.push(value);
        bytes += sizeOf(value);
        if (buffer.length > MAX_BUFFERED_ITEMS || bytes > MAX_BUFFERED_BYTES) finish(overflow());
        else if (!writing) drain().catch(finish);
      },
      error(error: unknown) {
        // what came before the error goes first
        failure = error ?? new Error('the Observable failed');
        completed = true;
        if (!writing) finish(failure);
      },
      complete() {
        completed = true;
        if (!writing) finish();
      },
    });
    sink.whenClosed(() => finish());
    if (over) finish();
  });
}

function rethrowUnlessClosed(sink: StreamSink): (error: unknown) => void {
  return (error) => {
    if (!sink.isClosed) throw error;
  };
}

/** Lets everything else that is due work first. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** What a value holds: its size on the wire. One that has none is found out when its turn comes. */
function sizeOf(value: unknown): number {
  if (isStream(value)) return 0;
  try {
    return new Encoder().encode(value).length;
  } catch {
    return 0;
  }
}

function overflow(): Fault {
  return new Fault({
    status: Status.Channel,
    message: `the reader is too slow: more than ${MAX_BUFFERED_ITEMS} values or ${MAX_BUFFERED_BYTES} bytes wait`,
  });
}
