import type { Readable } from 'node:stream';
import { queueMicrotask } from '../../net/runtime.js';
import { Observable } from 'rxjs';
import type { Header } from '../../protocol/frame.js';
import { captureContext } from '../../rpc/context/async-context.js';
import type { Channel } from '../../rpc/channel/channel.js';
import type { ChannelMessage } from '../../rpc/channel/message-queue.js';
import { audibleSignal } from './audible-signal.js';
import { channelError, traced } from '../errors/failed-call.js';
import { forgettable } from '../errors/forgettable.js';
import { handlerFault } from '../errors/handler-fault.js';
import { INTEROP, type RapReadableOptions, readableOf } from './iterated.js';
import { hearing, tell } from './peer-header.js';
import { nextTurn } from './stream-source.js';

/** A message of a channel with its header. */
export interface RapMessage<T> {
  readonly header: Header;
  readonly body: T;
}

/**
 * A duplex channel: `In` is what this side reads, `Out` what it writes. Reading gives the peer room to write more;
 * writing waits until the peer has room. Several readers share the messages.
 */
export class RapChannel<In = unknown, Out = unknown> implements AsyncIterable<In> {
  readonly #channel: Channel;
  #closed: Promise<void> | undefined;
  #signal: AbortSignal | undefined;

  /** @internal */
  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** @internal */
  get inner(): Channel {
    return this.#channel;
  }

  /** Correlation id of the channel on its connection. */
  get id(): number {
    return this.#channel.id;
  }

  /** What the client sent when it opened the channel. */
  get metadata(): unknown {
    return this.#channel.metadata;
  }

  /** Whether the channel is over. Earlier messages may still be there to read. */
  get isClosed(): boolean {
    return this.#channel.isEnding;
  }

  /**
   * Aborted when the channel is over; the reason is the error that ended it, if any. If it was over before the first access,
   * the `abort` event comes once more, after the turn of that access.
   */
  get signal(): AbortSignal {
    this.#signal ??= audibleSignal(this.#channel.signal);
    return this.#signal;
  }

  /** Resolves when the channel is over; rejects with the error that ended it. */
  get closed(): Promise<void> {
    if (!this.#closed) {
      this.#closed = new Promise((resolve, reject) => {
        this.#channel.whenClosed(() => {
          const { fault } = this.#channel;
          if (fault) reject(this.errorOf(fault));
          else resolve();
        });
      });
      this.#closed.catch(() => {}); // it may be ignored
    }
    return this.#closed;
  }

  /** The next message's body; `undefined` after the last one. @throws the error that ended the channel */
  read(): Promise<In | undefined> {
    const body = this.#read().then((message) => message?.body as In | undefined);
    return this.forgettable(body, 'channel.read()');
  }

  /** Bodies, one after the other, to the last. Leaving the loop does not close the channel. */
  [Symbol.asyncIterator](): AsyncIterator<In, undefined> {
    return this.#iterate((message) => message.body as In);
  }

  /** Messages with their headers. */
  messages(): AsyncIterable<RapMessage<In>> {
    return {
      [Symbol.asyncIterator]: () => this.#iterate(({ header, body }) => ({ header, body: body as In })),
    };
  }

  /**
   * Sends a message as soon as the peer has room for it: a writer that awaits it can never be faster than the peer reads. A
   * failure that is not awaited ends the channel, and is logged.
   *
   * @throws ChannelLifecycleError after `end` or `close`; the error that ended the channel; OverloadError if 1024 writes
   * wait already
   */
  write(body: Out, header?: Header): Promise<void> {
    return this.forgettable(this.#channel.write(body, header), 'channel.write()');
  }

  /** Ends writing on this side; it can still read. @throws ChannelLifecycleError if the peer does not support that */
  end(): Promise<void> {
    return this.forgettable(this.#channel.end(), 'channel.end()');
  }

  /** Ends the channel both ways, at once; an error arrives at the peer. */
  close(error?: unknown): void {
    if (error === undefined) return this.#channel.close();
    const { fault, name } = handlerFault(error);
    this.#channel.close(fault, name);
  }

  /** rap's `while (await channel.loop())`: whether `condition` holds and there may be more to read. */
  async loop(condition = true): Promise<boolean> {
    await nextTurn(); // as in rap: sees what has just arrived, and a loop that only writes lets others run
    return condition && this.#channel.readable;
  }

  /** Bodies as an Observable, from the subscription on; unsubscribing stops reading and does not close the channel. */
  toObservable(): Observable<In> {
    return new Observable((observer) => {
      const context = captureContext();
      let stop: (() => void) | undefined;
      const next = (): void => {
        stop = this.#channel.readInto({
          resolve: (message) => context.runInAsyncScope(take, undefined, message),
          reject: (fault) => context.runInAsyncScope(fail, undefined, fault),
        });
      };
      const fail = (fault: unknown): void => {
        observer.error(this.errorOf(this.#told(undefined)?.error ?? fault));
      };
      const take = (message: ChannelMessage | undefined): void => {
        const failure = this.#told(message);
        if (failure) return observer.error(this.errorOf(failure.error));
        if (!message) return observer.complete();
        observer.next(message.body as In);
        // in a microtask: a long queue must not become a deep stack
        if (!observer.closed) queueMicrotask(() => !observer.closed && next());
      };
      next();
      return () => stop?.();
    });
  }

  /**
   * Bodies as a Readable, by default in object mode: it takes one when it has room. Destroying it stops reading and does not
   * close the channel. A body that is `null` is an error: to a Readable, it would be the end.
   */
  toReadable(options?: RapReadableOptions): Readable {
    return readableOf(this, options);
  }

  /** @internal */
  [INTEROP](): Observable<In> {
    return this.toObservable();
  }

  /** @internal The public error of a failure of this channel. */
  errorOf(fault: unknown): unknown {
    return channelError(this.#channel, fault);
  }

  /** @internal A failure that is not awaited ends the channel: later messages would follow a gap. */
  protected forgettable<T>(work: Promise<T>, what: string): Promise<T> {
    return forgettable(work, what, this);
  }

  #read(reader?: object): Promise<ChannelMessage | undefined> {
    const read = this.#channel.read(reader);
    return this.#channel.onHeader ? hearing(this.#channel, read) : read;
  }

  /** Tells `onHeader` what came with a message, or with the end. Returns what it has thrown. */
  #told(message: ChannelMessage | undefined): { readonly error: unknown } | undefined {
    if (!this.#channel.onHeader) return undefined;
    try {
      tell(this.#channel, message);
      return undefined;
    } catch (error) {
      return { error };
    }
  }

  #iterate<T>(map: (message: RapMessage<unknown>) => T): AsyncIterator<T, undefined> {
    let isOver = false;
    const iterator: AsyncIterator<T, undefined> = {
      next: async () => {
        try {
          const message = isOver ? undefined : await this.#read(iterator);
          return message ? { done: false, value: map(message) } : { done: true, value: undefined };
        } catch (error) {
          throw traced(this.errorOf(error));
        }
      },
      // a waiting `next()` gives up its place
      return: () => {
        isOver = true;
        this.#channel.leave(iterator);
        return Promise.resolve({ done: true, value: undefined });
      },
    };
    return iterator;
  }
}
