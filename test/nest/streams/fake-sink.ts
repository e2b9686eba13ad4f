import type { StreamSink } from '../../../lib/nest/streams/stream-source.js';
import { hold } from '../../../lib/protocol/encoder.js';
import { Fault } from '../../../lib/protocol/fault.js';
import { heldValue } from '../../../lib/protocol/held-body.js';
import { DEFAULT_FRAME_LIMITS } from '../../../lib/protocol/limits.js';
import { Status } from '../../../lib/protocol/status.js';

/** A value that cannot be sent. */
export const UNSENDABLE = Symbol('cannot be sent');

/** A reader that takes what the test lets it take, and ends when the test says so. */
export class FakeSink implements StreamSink {
  readonly values: unknown[] = [];
  begun = 0;
  isClosed = false;
  /** Called with each value that was taken. */
  onValue: ((value: unknown) => void) | undefined;

  readonly #waiting: { value: unknown; resolve: () => void; reject: (fault: Fault) => void }[] = [];
  readonly #callbacks: (() => void)[] = [];

  /** `room`: values that are taken before the reader must ask for more. */
  constructor(
    public room = Infinity,
    readonly maxPushedBytes = 16 * 1024 * 1024,
  ) {}

  hold(value: unknown): unknown {
    if (value === UNSENDABLE) throw unsendable();
    return hold(value, DEFAULT_FRAME_LIMITS, true);
  }

  begin(): void {
    this.begun += 1;
  }

  tryWrite(value: unknown): boolean {
    if (this.isClosed) throw closedFault();
    if (value === UNSENDABLE) throw unsendable();
    if (this.room <= 0 || this.#waiting.length > 0) return false;
    this.#take(value);
    return true;
  }

  write(value: unknown): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.tryWrite(value)) resolve();
      else this.#waiting.push({ value, resolve, reject });
    });
  }

  whenClosed(callback: () => void): void {
    if (this.isClosed) callback();
    else this.#callbacks.push(callback);
  }

  /** The reader takes this many more. */
  take(count: number): void {
    this.room += count;
    while (this.room > 0 && this.#waiting.length > 0) {
      const write = this.#waiting.shift();
      this.#take(write?.value);
      write?.resolve();
    }
  }

  /** Nobody wants more. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const write of this.#waiting.splice(0)) write.reject(closedFault());
    for (const callback of this.#callbacks.splice(0)) callback();
  }

  /** Writes that wait for room. */
  get waiting(): number {
    return this.#waiting.length;
  }

  #take(value: unknown): void {
    this.room -= 1;
    const taken = heldValue(value);
    this.values.push(taken);
    this.onValue?.(taken);
  }
}

function unsendable(): Fault {
  return new Fault({ status: Status.Parse, message: 'the value cannot be sent' });
}

function closedFault(): Fault {
  return new Fault({ status: Status.ChannelLifeCycle, message: 'the channel is closed' });
}
