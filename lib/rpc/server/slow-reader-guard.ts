import type { Link } from '../../protocol/link.js';
import type { Account } from '../account.js';
import type { RapLimits } from '../limits.js';

/**
 * Backpressure against a client that does not read its answers: its requests are not read until it does. Answers are
 * buffered while the account has room, then queued unencoded. The link decides when a blocked client counts as stalled.
 */
export class SlowReaderGuard {
  #isPaused = false;
  #isOver = false;
  /** Unsent bytes charged to the account. */
  #counted = 0;
  /** Bytes that are not answers, sent while the send buffer was above its soft limit. */
  #unsolicited = 0;

  constructor(
    private readonly link: Link,
    private readonly limits: RapLimits,
    /** The unsolicited bytes are over the hard limit; `pendingBytes` are unsent in all. */
    private readonly onOverflow: (pendingBytes: number) => void,
    private readonly account: Account,
  ) {}

  /** Whether reading is paused until the client has read its answers. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** An answer was sent. Answers do not count towards the hard limit: the client asked for them, and work went into them. */
  answered(): void {
    this.#check(this.#count());
  }

  /** A frame that is not an answer was sent. */
  sent(bytes: number): void {
    const pendingBytes = this.#count();
    if (!this.#check(pendingBytes)) return;
    this.#unsolicited += bytes;
    if (this.#unsolicited > this.limits.sendBufferHardBytes) this.onOverflow(pendingBytes);
  }

  /** Whether answers must wait unencoded: the account is full, partly with unsent answers to this client. */
  get isFull(): boolean {
    return this.#count() > this.limits.sendBufferSoftBytes && this.account.isFull;
  }

  /** The send buffer has drained. `mayReadOn`: no answer is queued. */
  drained(mayReadOn = true): void {
    this.#count();
    this.#unsolicited = 0;
    if (!this.#isPaused || !mayReadOn) return;
    this.#isPaused = false;
    this.link.resume();
  }

  stop(): void {
    this.account.add(-this.#counted);
    this.#counted = 0;
    this.#isOver = true;
  }

  /** Pauses reading above the soft limit. Returns whether it is exceeded. */
  #check(pendingBytes: number): boolean {
    if (pendingBytes <= this.limits.sendBufferSoftBytes) return false;
    if (!this.#isPaused) {
      this.#isPaused = true;
      this.link.pause();
    }
    return true;
  }

  /** Charges the unsent bytes to the account. */
  #count(): number {
    const { pendingBytes } = this.link;
    if (!this.#isOver) this.account.add(pendingBytes - this.#counted);
    this.#counted = pendingBytes;
    return pendingBytes;
  }
}
