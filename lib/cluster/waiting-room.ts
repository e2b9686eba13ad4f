import { Fault, LocalCode } from '../protocol/fault.js';
import { Status } from '../protocol/status.js';

/** What waits until a server takes calls. */
export interface Waiting {
  /** Bytes that are kept for it. */
  readonly bytes: number;
  /** A server takes calls: it tries again. */
  retry(): void;
  fail(reason: Fault): void;
}

/** Limits of a {@link WaitingRoom}. */
export interface WaitingLimits {
  readonly maxQueuedCalls: number;
  readonly maxQueuedBytes: number;
}

/** Calls that wait until a server takes calls, bounded in number and bytes. */
export class WaitingRoom {
  readonly #waiting = new Set<Waiting>();
  #bytes = 0;

  constructor(
    private readonly where: string,
    private readonly limits: WaitingLimits,
    private readonly onChange: () => void,
  ) {}

  get size(): number {
    return this.#waiting.size;
  }

  /** @returns why it may not wait; `undefined` if it does */
  add(waiting: Waiting): Fault | undefined {
    const { maxQueuedBytes, maxQueuedCalls } = this.limits;
    const isFull = this.#bytes > maxQueuedBytes;
    if (isFull || this.#waiting.size >= maxQueuedCalls) return this.#overload(isFull);
    this.#waiting.add(waiting);
    this.#bytes += waiting.bytes;
    this.onChange();
    return undefined;
  }

  remove(waiting: Waiting): void {
    if (!this.#waiting.delete(waiting)) return;
    this.#bytes -= waiting.bytes;
    this.onChange();
  }

  /** Lets all that wait now try again. One that must wait again comes last. */
  retryAll(): void {
    for (const each of this.#takeAll()) each.retry();
  }

  failAll(reason: Fault): void {
    for (const each of this.#takeAll()) each.fail(reason);
  }

  #takeAll(): Waiting[] {
    const all = [...this.#waiting];
    for (const each of all) this.remove(each);
    return all;
  }

  #overload(isFull: boolean): Fault {
    const bytes = isFull ? ` (${this.#bytes} bytes)` : '';
    return new Fault({
      status: Status.TooManyRequests,
      code: LocalCode.Overload,
      message: `Overload: ${this.#waiting.size} calls${bytes} wait for a connection to ${this.where}`,
      sent: 'no',
    });
  }
}
