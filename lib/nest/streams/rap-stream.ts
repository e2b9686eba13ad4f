import type { Readable } from 'node:stream';
import type { Observable } from 'rxjs';
import type { Channel } from '../../rpc/channel/channel.js';
import { toRapError } from '../errors/to-rap-error.js';
import { INTEROP, observableOf, type RapReadableOptions, readableOf } from './iterated.js';
import { channelError, traced } from '../errors/failed-call.js';

/** How a client shows what comes over a stream. */
export interface StreamView<T> {
  value(value: unknown): T;
  /** Gets errors of rap. */
  error(error: unknown): unknown;
}

/** Who reads a stream, while that is opened. */
export interface StreamReader {
  /** It has left: the channel is not wanted any more. */
  readonly isOver: boolean;
  /** Called when it leaves. */
  whenLeft: (() => void) | undefined;
}

/** Opens the channel of a stream, or has it already. */
export type OpenStream = (reader: StreamReader) => Promise<Channel> | Channel;

/**
 * A stream that is read: with `for await`, as an Observable or as a Readable. Whichever is used, leaving it ends the
 * stream at once, also while it waits for an item: the server's generator is told to stop.
 *
 * It starts when it is read, each time anew. `from(stream)` of RxJS gives the same as `toObservable()`.
 */
export interface RapIterable<T> extends AsyncIterable<T> {
  /**
   * Items as an Observable, without backpressure: they are pushed as they come. It starts with each subscription, and
   * ends at once when that is unsubscribed from.
   */
  toObservable(): Observable<T>;

  /**
   * Items as a Readable, in object mode unless told otherwise. It starts with the first read, takes an item when there is
   * room for it, and ends at once when it is destroyed. What ends the stream with an error is its `error` event. An item
   * that is `null` is an error: to a Readable, it would be the end.
   */
  toReadable(options?: RapReadableOptions): Readable;
}

/** A stream by the iterator that each reader of it gets. */
export class IteratedStream<T> implements RapIterable<T> {
  constructor(private readonly iterate: () => AsyncIterator<T>) {}

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return this.iterate();
  }

  toObservable(): Observable<T> {
    return observableOf(this);
  }

  toReadable(options?: RapReadableOptions): Readable {
    return readableOf(this, options);
  }

  [INTEROP](): Observable<T> {
    return this.toObservable();
  }
}

/** A stream of a client: opened for each reader, or open already, for one. */
export class ClientStream<T> extends IteratedStream<T> {
  constructor(open: OpenStream, view: StreamView<T>) {
    super(() => new StreamIterator<T>(open, view));
  }
}

/**
 * A stream's values. The channel opens with the first `next()`; leaving early cancels the stream, and the server's
 * generator is told to stop. A `next()` that waits meanwhile resolves as at the end.
 */
class StreamIterator<T> implements AsyncIterator<T, undefined>, StreamReader {
  isOver = false;
  whenLeft: (() => void) | undefined;

  #channel: Channel | undefined;
  #opening: Promise<void> | undefined;
  #leave: (() => void) | undefined;

  constructor(
    private readonly open: OpenStream,
    private readonly view: StreamView<T>,
  ) {}

  next(): Promise<IteratorResult<T, undefined>> {
    // the common case costs one promise: the value is here already
    const message = this.isOver ? undefined : this.#channel?.poll();
    if (!message) return this.#next();
    try {
      return Promise.resolve({ done: false, value: this.view.value(message.body) });
    } catch (error) {
      return Promise.reject(this.#failed(error));
    }
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.isOver = true;
    this.#leave?.();
    this.whenLeft?.();
    this.#channel?.leave(this);
    this.#channel?.cancel();
    return Promise.resolve(END);
  }

  async #next(): Promise<IteratorResult<T, undefined>> {
    try {
      if (this.isOver) return END;
      if (!this.#channel) await (this.#opening ??= this.#start());
      // it may have been left meanwhile
      const message = this.isOver ? undefined : await this.#channel?.read(this);
      if (message) return { done: false, value: this.view.value(message.body) };
      this.isOver = true;
      return END;
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /** Resolves when the channel is open, or the reader has left. */
  #start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#leave = resolve;
      const opening = new Promise<Channel>((opened) => opened(this.open(this)));
      opening.then((channel) => {
        this.#channel = channel;
        if (this.isOver) channel.cancel();
        resolve();
      }, reject);
    });
  }

  /** Nobody calls `return()` after an error: a value that cannot be shown must not leave the stream open. */
  #failed(error: unknown): unknown {
    this.isOver = true;
    this.#channel?.cancel();
    const shown = this.#channel ? channelError(this.#channel, error) : toRapError(error);
    return traced(this.view.error(shown));
  }
}

const END: IteratorReturnResult<undefined> = { done: true, value: undefined };
