import { setImmediate } from '../../net/runtime.js';
import type { Fault } from '../../protocol/fault.js';
import { nameOf } from '../../protocol/wire-error.js';
import type { Channel } from '../../rpc/channel/channel.js';
import type { IncomingCall } from '../../rpc/server/incoming-call.js';
import { onAbort } from '../../rpc/context/listeners.js';
import type { Route } from '../handlers/handler.js';
import type { ItemLink } from '../streams/item-link.js';
import { kindFault } from './kind-fault.js';
import { copyOfBody } from '../../protocol/body-copy.js';
import type { StreamSink } from '../streams/stream-source.js';
import { pump, type Values } from '../streams/values.js';

/**
 * Takes the values that a unary call is answered with: one value is the answer, none is a void answer or an empty stream;
 * with the second, or if a stream begins, the answer becomes a stream. To a caller that takes either, the first value goes
 * at once unless the source ends with it: a feed is seen from its first value on.
 */
export class AnswerSink implements StreamSink {
  #first: unknown;
  #count = 0;
  #stream: Channel | undefined;
  #ended = false;

  constructor(
    private readonly call: IncomingCall,
    private readonly route: Route,
  ) {}

  get isClosed(): boolean {
    return this.#stream ? this.#stream.isClosed : this.call.settled;
  }

  whenClosed(callback: () => void): void {
    const { signal } = this.call;
    if (signal.aborted) callback();
    else onAbort(signal, callback);
  }

  close(fault: Fault): void {
    this.call.fail(fault, nameOf(fault));
  }

  /** @throws Fault 1008 if the caller cannot take a stream as the answer; the fault of a first value that cannot be sent */
  begin(): void {
    if (this.call.oneWay || this.#stream) return;
    this.#stream = this.call.turnIntoStream();
    if (!this.#stream) throw kindFault(this.route, 'a stream', 'stream()', 'call()');
    this.#stream.expectNoMessages();
    if (this.#count === 0 || this.#stream.tryWrite(this.#first)) return;
    this.#stream.write(this.#first).catch((fault: Fault) => this.close(fault));
  }

  tryWrite(value: unknown): boolean {
    if (this.call.oneWay) return true;
    if (this.#stream) return this.#stream.tryWrite(value);
    if (this.#count++ === 0) {
      this.#first = value;
      if (this.call.acceptsStream) setImmediate(() => this.#beginUnlessEnded());
      return true;
    }
    this.begin();
    return this.tryWrite(value);
  }

  hold(value: unknown): unknown {
    return this.#stream ? this.#stream.hold(value) : value;
  }

  get maxPushedBytes(): number {
    return this.#stream?.maxPushedBytes ?? Infinity;
  }

  keep(): void {
    if (this.#count === 1 && !this.#stream) this.#first = copyOfBody(this.#first);
  }

  write(value: unknown): Promise<void> {
    try {
      if (this.#stream) return this.#stream.write(value);
      this.tryWrite(value);
      return Promise.resolve();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * The source has ended. Returns the one value if there was no stream. Without any value, a caller that takes either gets
   * an empty stream, others get a void answer.
   */
  end(): { readonly value: unknown } | undefined {
    this.#ended = true;
    if (this.#count === 0 && this.call.acceptsStream && !this.isClosed) this.begin();
    if (!this.#stream) return { value: this.#first };
    this.#stream.close();
    return undefined;
  }

  /** The source has failed: a caller that takes a stream gets the value that came before the error. */
  fail(): void {
    this.#ended = true;
    if (this.#count === 1 && this.call.acceptsStream && !this.isClosed) this.begin();
  }

  #beginUnlessEnded(): void {
    if (this.#ended || this.isClosed) return;
    try {
      this.begin();
    } catch (error) {
      this.close(error as Fault);
    }
  }
}

/**
 * Answers a call with what its handler gives: as a stream, which has ended when this resolves, or with the one value,
 * which is returned and not yet sent.
 *
 * @throws what the source fails with
 */
export async function pumpAnswer(
  values: Values,
  call: IncomingCall,
  route: Route,
  link: ItemLink,
): Promise<{ readonly value: unknown } | undefined> {
  const sink = new AnswerSink(call, route);
  try {
    await pump(values, sink, link);
  } catch (error) {
    sink.fail();
    throw error;
  }
  return sink.end();
}
