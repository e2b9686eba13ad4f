import { EventEmitter } from 'node:events';
import { setImmediate } from '../../net/runtime.js';
import { Fault } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import { isObject } from '../../protocol/values/unknown.js';
import { captureContext } from '../../rpc/context/async-context.js';

/** After this many items of a source that never waits, calls and other streams have their turn. */
const ITEMS_PER_TURN = 256;

/** Takes the values of a stream. */
export interface StreamSink {
  /** A stream begins, even if it has no values. Throws if the receiver does not know streams. */
  begin?(): void;
  /** Takes a value if there is room. */
  tryWrite(value: unknown): boolean;
  /** Takes a value as soon as there is room. Rejects if the stream is over. */
  write(value: unknown): Promise<void>;
  /** A copy of a value, for a later write. @throws Fault if it cannot be sent */
  hold(value: unknown): unknown;
  /** Limit on the queue of a source that cannot be paused, in encoded bytes. */
  readonly maxPushedBytes: number;
  /** The source runs on: values that the sink has taken and not sent must not change with it. */
  keep?(): void;
  /** Calls back once when the stream is over. */
  whenClosed(callback: () => void): void;
  /** Ends the stream with an error, also during a write. */
  close(fault: Fault): void;
  readonly isClosed: boolean;
}

/**
 * Whether a handler's result is a stream: an async iterable (an `async *` generator, a Node Readable), or an iterator
 * such as a generator's. Arrays, maps and sets are values.
 */
export function isStream(value: unknown): value is AsyncIterable<unknown> | Iterable<unknown> {
  if (!isObject(value)) return false;
  if (Symbol.asyncIterator in value) return true;
  return Symbol.iterator in value && 'next' in value && typeof value.next === 'function';
}

/** An error that a generator threw after its handler had returned: no filter of Nest has seen it. */
export class UnfilteredError {
  constructor(readonly error: unknown) {}
}

/**
 * Writes a source to its end, never faster than the reader reads. When the sink closes, the iterator's `return()` is called
 * at once, also while a `next()` is pending. Resolves when the source has ended.
 *
 * @throws {@link UnfilteredError} with what the source throws; Fault if a value cannot be sent
 */
export async function pumpIterable(
  source: AsyncIterable<unknown> | Iterable<unknown>,
  sink: StreamSink,
): Promise<void> {
  const iterator = iteratorOf(source);
  const isAsync = Symbol.asyncIterator in source;
  let asking = false;
  let ended = false; // by the source itself
  let leaving: Promise<unknown> | undefined;
  const leave = (): void => {
    if (!ended) leaving ??= leaveEarly(source, iterator);
  };
  // the sink closes in the context of a frame; the clean-up of the source belongs to that of the handler
  const context = captureContext();
  sink.whenClosed(() => context.runInAsyncScope(leave));
  try {
    sink.begin?.();
    for (let turn = 1; !sink.isClosed; turn++) {
      sink.keep?.();
      asking = true;
      const answer = iterator.next();
      const { done, value } = (isAsync ? await answer : answer) as IteratorResult<unknown>;
      asking = false;
      if (done) {
        ended = true;
        return;
      }
      if (!sink.isClosed && !sink.tryWrite(value)) await sink.write(value).catch(rethrowUnlessClosed(sink));
      if (turn % ITEMS_PER_TURN === 0) await nextTurn();
    }
  } catch (error) {
    ended ||= asking;
    if (!sink.isClosed) throw asking ? new UnfilteredError(error) : error;
  } finally {
    leave();
    await leaving;
  }
}

/** Ends a source that was never read. */
export async function abandon(source: AsyncIterable<unknown> | Iterable<unknown>): Promise<void> {
  try {
    await leaveEarly(source, iteratorOf(source));
  } catch {
    // it has no iterator to end
  }
}

/** A source of items. */
export type Source = AsyncIterable<unknown> | Iterable<unknown>;

/** Sources that can be read once, and were. */
const used = new WeakSet<Source>();

/**
 * Begins to read a source.
 *
 * @throws {@link UnfilteredError} with what the source throws; Fault 1008 for a generator or Readable that was read before
 */
export function iteratorOf(source: Source): AsyncIterator<unknown> | Iterator<unknown> {
  if ('next' in source || 'destroy' in source) {
    if (used.has(source)) throw usedTwice();
    used.add(source);
  }
  try {
    return Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  } catch (error) {
    throw new UnfilteredError(error);
  }
}

function usedTwice(): Fault {
  return new Fault({
    status: Status.Channel,
    message:
      'the stream was read before: a handler or interceptor has given the same generator or Readable twice',
  });
}

/**
 * A failed Readable emits an `error` event, which ends the process without a listener: before it is read, and afterwards.
 */
export function hearFailures(source: object): void {
  if (source instanceof EventEmitter) source.on('error', () => {});
}

/** Lets a source clean up. A failure of the clean-up is ignored. */
export async function leaveEarly(
  source: object,
  iterator: AsyncIterator<unknown> | Iterator<unknown>,
): Promise<void> {
  try {
    hearFailures(source);
    // the iterator of a Readable that waits for data would return only when some comes
    if ('destroy' in source && typeof source.destroy === 'function') source.destroy();
    await iterator.return?.();
  } catch {
    // see above
  }
}

/** Ignores the failure of a write to a closed sink. */
export function rethrowUnlessClosed(sink: StreamSink): (error: unknown) => void {
  return (error) => {
    if (!sink.isClosed) throw error;
  };
}

/** Lets everything else that is due run first. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
