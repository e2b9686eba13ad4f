import type { Readable } from 'node:stream';
import type { Observable } from 'rxjs';
import type { Channel } from '../../rpc/channel/channel.js';
import { toRapError } from '../errors/to-rap-error.js';
import type { ChannelMessage } from '../../rpc/channel/message-queue.js';
import { hearing } from './peer-header.js';
import { INTEROP, observableOf, type RapReadableOptions, readableOf } from './iterated.js';
import { channelError, traced } from '../errors/failed-call.js';

/** How a client passes on the values and errors of a stream. */
export interface StreamView<T> {
  value(value: unknown): T;
  /** `error` is an error of rap. */
  error(error: unknown): unknown;
}

/** The reader of a stream that is being opened. */
export interface StreamReader {
  /** It has stopped reading: the channel is not needed any more. */
  readonly isOver: boolean;
  /** Called when it stops. */
  whenLeft: (() => void) | undefined;
}

/** Opens the channel of a stream, or has it already. */
export type OpenStream = (reader: StreamReader) => Promise<Channel> | Channel;

/**
 * A stream to read: with `for await`, as an Observable or as a Readable. To stop reading ends the stream at once, also
 * while it waits for an item: the server's generator stops.
 *
 * Each reader starts a new call. `from(stream)` of RxJS gives the same as `toObservable()`.
 */
export interface RapIterable<T> extends AsyncIterable<T> {
  /**
   * Items as an Observable, without backpressure: they are pushed as they come. Each subscription starts the stream, and
   * unsubscribing ends it at once.
   */
  toObservable(): Observable<T>;

  /**
   * Items as a Readable, by default in object mode. It starts with the first read, takes an item when it has room, and ends
   * at once when it is destroyed. An error of the stream is its `error` event. An item that is `null` is an error: to a
   * Readable, it would be the end.
   */
  toReadable(options?: RapReadableOptions): Readable;
}

/** A stream, made of a function that returns an iterator for each reader. */
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

/** A stream of a client: opened for each reader, or already open for one reader. */
export class ClientStream<T> extends IteratedStream<T> {
  constructor(open: OpenStream, view: StreamView<T>) {
    super(() => new StreamIterator<T>(open, view));
  }
}

/**
 * A stream's values. The channel opens with the first `next()`; `return()` cancels the stream, and the server's generator
 * stops. A `next()` that waits meanwhile resolves as at the end.
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
    // the common case costs one promise: the value has already arrived
    const message = this.isOver || this.#channel?.onHeader ? undefined : this.#channel?.poll();
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
      // `return()` may have been called meanwhile
      const message = this.isOver ? undefined : await this.#read();
      if (message) return { done: false, value: this.view.value(message.body) };
      this.isOver = true;
      return END;
    } catch (error) {
      throw this.#failed(error);
    }
  }

  #read(): Promise<ChannelMessage | undefined> | undefined {
    const channel = this.#channel;
    const read = channel?.read(this);
    return read && channel?.onHeader ? hearing(channel, read) : read;
  }

  /** Resolves when the channel is open, or the reader has stopped. */
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

  /** `return()` is not called after an error: a value that the view refuses must not leave the stream open. */
  #failed(error: unknown): unknown {
    this.isOver = true;
    this.#channel?.cancel();
    const shown = this.#channel ? channelError(this.#channel, error) : toRapError(error);
    return traced(this.view.error(shown));
  }
}

const END: IteratorReturnResult<undefined> = { done: true, value: undefined };
