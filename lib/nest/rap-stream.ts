import type { Channel } from '../rpc/channel.js';
import { toRapError } from './errors.js';

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
    private readonly map: (value: T) => T,
  ) {}

  next(): Promise<IteratorResult<T, undefined>> {
    // the common case costs one promise: the value is here already
    const message = this.#channel?.poll();
    if (message) return Promise.resolve({ done: false, value: this.map(message.body as T) });
    return this.#next();
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
      if (message) return { done: false, value: this.map(message.body as T) };
      this.#over = true;
      return END;
    } catch (error) {
      this.#over = true;
      throw toRapError(error);
    }
  }
}

const END: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** A stream that is iterated as often as one likes, each time anew; or once, where its channel is open already. */
export function streamOf<T>(open: () => Promise<Channel> | Channel, map: (value: T) => T): AsyncIterable<T> {
  return { [Symbol.asyncIterator]: () => new StreamIterator<T>(open, map) };
}
