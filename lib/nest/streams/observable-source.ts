import { takeWhile, type Observable, type Subscription } from 'rxjs';
import { Fault } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import { heldBytes } from '../../protocol/held-body.js';
import { type CapturedContext, captureContext } from '../../rpc/context/async-context.js';
import type { ItemLink, ItemReader } from './item-link.js';
import {
  abandon,
  hearFailures,
  isStream,
  pumpIterable,
  rethrowUnlessClosed,
  type Source,
  type StreamSink,
} from './stream-source.js';

/** Overhead of a waiting value. */
const ITEM_BYTES = 16;

/**
 * Writes an Observable to its end. It cannot be paused: values that the reader has not taken are queued as they were
 * emitted, up to `limits.maxPushedBytes`, then the stream fails with 1008. A value that is itself a stream is written value
 * by value: an interceptor or a pre-request hook around a generator emits one. Resolves when the Observable, and every stream that it emitted,
 * has ended.
 *
 * @throws what the source fails with
 */
export async function pumpObservable(
  source: Observable<unknown>,
  sink: StreamSink,
  link?: ItemLink,
): Promise<void> {
  const inbox = new Inbox(source, sink, link);
  try {
    for (let item = await inbox.next(); item && !sink.isClosed; item = await inbox.next()) {
      const { value, scope } = item;
      if (scope) await scope.runInAsyncScope(() => pumpIterable(value as Source, sink));
      else await sink.write(value).catch(rethrowUnlessClosed(sink));
    }
    inbox.assertNoOverflow();
  } finally {
    await inbox.leave();
    await link?.ended();
  }
}

/** A waiting value, and its size. */
interface Item {
  readonly value: unknown;
  readonly bytes: number;
  /** Of a stream: the async context that has emitted it, in which its source runs. */
  readonly scope?: CapturedContext;
}

/** Takes what an Observable emits: passes it to the reader if nothing waits, else queues it. */
class Inbox implements ItemReader {
  #items: Item[] = [];
  #bytes = 0;
  /** The writer waits for the next value. */
  #idle = true;
  /** Nothing more is emitted, or needed. */
  #over = false;
  #failure: { readonly error: unknown } | undefined;
  #overflow: Fault | undefined;
  #wake: (() => void) | undefined;
  /** The source waits until the queue is empty. */
  #onTaken: (() => void) | undefined;
  #subscription: Subscription | undefined;

  constructor(
    source: Observable<unknown>,
    private readonly sink: StreamSink,
    private readonly link: ItemLink | undefined,
  ) {
    if (link) link.reader = this;
    // a synchronous source must see between two values that it is over
    this.#subscription = source.pipe(takeWhile(() => !this.#over && !sink.isClosed)).subscribe({
      next: (value) => this.#take(value),
      error: (error: unknown) => this.#end({ error: error ?? new Error('the Observable failed') }),
      complete: () => this.#end(),
    });
    const context = captureContext();
    sink.whenClosed(() => context.runInAsyncScope(() => this.#stop()));
    if (this.#over) this.#unsubscribe();
  }

  /** The next waiting value; `undefined` when all were taken, or the sink is closed. @throws the error of the source */
  async next(): Promise<Item | undefined> {
    if (this.#items.length === 0 && !this.#over) {
      this.#idle = true;
      this.#tellTaken();
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    if (this.#items.length === 0 && this.#failure) throw this.#failure.error;
    if (this.sink.isClosed) return undefined;
    const item = this.#items.shift();
    if (item) this.#bytes -= item.bytes;
    return item;
  }

  /** @throws Fault 1008 if too many bytes have waited */
  assertNoOverflow(): void {
    if (this.#overflow) throw this.#overflow;
  }

  /** Unsubscribes, and ends the streams that still wait. */
  async leave(): Promise<void> {
    this.#stop();
    const streams = this.#items.splice(0).flatMap(({ value }) => (isStream(value) ? [value] : []));
    await Promise.all(streams.map(abandon));
  }

  begin(): void {
    try {
      this.sink.begin?.();
    } catch (error) {
      this.fail(error);
    }
  }

  taken(): Promise<void> | undefined {
    if (this.#idle || this.#over) return undefined;
    return new Promise((resolve) => (this.#onTaken = resolve));
  }

  fail(error: unknown): void {
    this.#end({ error });
    this.#unsubscribe();
  }

  #take(value: unknown): void {
    if (this.#over) return;
    const stream = isStream(value);
    if (stream) hearFailures(value);
    if (this.link && !stream) this.link.count += 1;
    try {
      if (this.#idle && !stream && this.sink.tryWrite(value)) return;
    } catch (error) {
      return this.fail(error);
    }
    if (stream) this.#append({ value, bytes: 0, scope: captureContext() });
    else this.#hold(value);
    this.#idle = false;
    this.#rouse();
    if (this.#bytes <= this.sink.maxPushedBytes) return;
    this.#overflow = overflow(this.sink.maxPushedBytes);
    this.#stop();
    this.sink.close(this.#overflow);
  }

  #hold(value: unknown): void {
    try {
      const held = this.sink.hold(value);
      // the first of the queue goes to the writer in this turn, and does not count as waiting
      this.#append({ value: held, bytes: this.#idle ? 0 : heldBytes(held) + ITEM_BYTES });
    } catch (error) {
      this.fail(error);
    }
  }

  #append(item: Item): void {
    this.#items.push(item);
    this.#bytes += item.bytes;
  }

  #end(failure?: { readonly error: unknown }): void {
    if (this.#over) return;
    // values that came before an error are sent first
    this.#failure = failure;
    this.#over = true;
    this.#rouse();
  }

  #stop(): void {
    this.#over = true;
    this.#unsubscribe();
    this.#rouse();
  }

  #unsubscribe(): void {
    try {
      this.#subscription?.unsubscribe();
    } catch {
      // nothing can handle a failure of its clean-up
    }
  }

  #rouse(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
    if (this.#over) this.#tellTaken();
  }

  #tellTaken(): void {
    const tell = this.#onTaken;
    this.#onTaken = undefined;
    tell?.();
  }
}

function overflow(maxBytes: number): Fault {
  return new Fault({
    status: Status.Channel,
    message:
      `the caller reads too slowly for an Observable, which cannot be paused: more than ${maxBytes} bytes wait ` +
      '(limits.maxPushedBytes). An async iterable waits for its reader, and has no such bound',
  });
}
