import { EventEmitter } from 'node:events';
import { setImmediate } from '../../net/runtime.js';
import { Fault } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import { captureContext } from '../../rpc/context/async-context.js';

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
  /** A value as it is now, for a write that comes later. @throws Fault if it cannot be sent */
  hold(value: unknown): unknown;
  /** What a source that cannot be paused may have waiting, in encoded bytes. */
  readonly maxPushedBytes: number;
  /** The source goes on: what the sink has taken and not sent must not change with it. */
  keep?(): void;
  /** Calls back once when the stream is over and nobody wants more. */
  whenClosed(callback: () => void): void;
  /** Ends the stream with an error, whatever is being written. */
  close(fault: Fault): void;
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
  const isAsync = Symbol.asyncIterator in source;
  let asking = false;
  let ended = false; // by the source itself
  let leaving: Promise<unknown> | undefined;
  const leave = (): void => {
    if (!ended) leaving ??= leaveEarly(source, iterator);
  };
  // the reader's end comes with a frame; the source's clean-up is the handler's own
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

/** Ends a source that nobody has begun to read. */
export async function abandon(source: AsyncIterable<unknown> | Iterable<unknown>): Promise<void> {
  try {
    await leaveEarly(source, iteratorOf(source));
  } catch {
    // it has nothing to end
  }
}

/** What gives items. */
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
 * A Readable tells its failure by an event, too, which ends the process where nobody listens: as long as it is not read,
 * and when it is no longer.
 */
export function hearFailures(source: object): void {
  if (source instanceof EventEmitter) source.on('error', () => {});
}

/** Lets a source clean up. What it fails with on leaving is for nobody. */
export async function leaveEarly(
  source: object,
  iterator: AsyncIterator<unknown> | Iterator<unknown>,
): Promise<void> {
  try {
    hearFailures(source);
    // a Readable that waits for data would answer only when it has some
    if ('destroy' in source && typeof source.destroy === 'function') source.destroy();
    await iterator.return?.();
  } catch {
    // nobody waits for it
  }
}

/** What fails because nobody wants it any more has not failed. */
export function rethrowUnlessClosed(sink: StreamSink): (error: unknown) => void {
  return (error) => {
    if (!sink.isClosed) throw error;
  };
}

/** Lets everything else that is due work first. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
