import type { Channel } from '../rpc/channel.js';
import { toRapError } from './errors.js';
import { channelError, traced } from './failed-call.js';

/** How a client shows what comes over a stream. */
export interface StreamView<T> {
  value(value: unknown): T;
  /** Gets errors of rap. */
  error(error: unknown): unknown;
}

/**
 * A stream's values. The channel opens with the first `next()`; leaving the loop early cancels the stream, and the
 * server's generator is told to stop.
 */
export class StreamIterator<T> implements AsyncIterator<T, undefined> {
  #channel: Channel | undefined;
  #opening: Promise<Channel> | undefined;
  #over = false;

  constructor(
    private readonly open: () => Promise<Channel> | Channel,
    private readonly view: StreamView<T>,
  ) {}

  next(): Promise<IteratorResult<T, undefined>> {
    // the common case costs one promise: the value is here already
    const message = this.#channel?.poll();
    if (!message) return this.#next();
    try {
      return Promise.resolve({ done: false, value: this.view.value(message.body) });
    } catch (error) {
      return Promise.reject(this.#failed(error));
    }
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#over = true;
    this.#channel?.close();
    // opened while nobody waits any more
    await this.#opening?.then((channel) => channel.close()).catch(() => {});
    return END;
  }

  async #next(): Promise<IteratorResult<T, undefined>> {
    try {
      if (this.#over) return END;
      this.#channel ??= await (this.#opening ??= Promise.resolve(this.open()));
      const message = await this.#channel.read();
      if (message) return { done: false, value: this.view.value(message.body) };
      this.#over = true;
      return END;
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /** Nobody calls `return()` after an error: a value that cannot be shown must not leave the stream open. */
  #failed(error: unknown): unknown {
    this.#over = true;
    this.#channel?.close();
    const shown = this.#channel ? channelError(this.#channel, error) : toRapError(error);
    return traced(this.view.error(shown));
  }
}

const END: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** A stream that is iterated as often as one likes, each time anew; or once, where its channel is open already. */
export function streamOf<T>(open: () => Promise<Channel> | Channel, view: StreamView<T>): AsyncIterable<T> {
  return { [Symbol.asyncIterator]: () => new StreamIterator<T>(open, view) };
}
