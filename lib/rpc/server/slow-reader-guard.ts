import type { Link } from '../../protocol/link.js';
import type { Account } from '../account.js';
import type { RapLimits } from '../limits.js';

/**
 * Watches what waits to be sent to a client. One that does not read what it asked for is asked nothing more of. Its answers wait for
 * it as long as the account has room for them, then unencoded; whether it reads at all is for the link to judge, which sees
 * it move.
 */
export class SlowReaderGuard {
  #isPaused = false;
  #isOver = false;
  /** Unsent bytes that the account knows of. */
  #counted = 0;
  /** Bytes that are no answers, and were sent while much waited already. */
  #unasked = 0;

  constructor(
    private readonly link: Link,
    private readonly limits: RapLimits,
    /** The peer does not read, and so many bytes wait: among them more than it has asked for. */
    private readonly onDeaf: (pendingBytes: number) => void,
    private readonly account: Account,
  ) {}

  /** Whether no request is read until the client has taken what waits. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** An answer was sent: the client had asked for it, and this side worked for it. */
  answered(): void {
    this.#check(this.#count());
  }

  /** Something else was sent. */
  sent(bytes: number): void {
    const pendingBytes = this.#count();
    if (!this.#check(pendingBytes)) return;
    this.#unasked += bytes;
    if (this.#unasked > this.limits.sendBufferHardBytes) this.onDeaf(pendingBytes);
  }

  /** Whether an answer must wait: more is held than may be, and some of that is unsent answers to this client. */
  get isFull(): boolean {
    return this.#count() > this.limits.sendBufferSoftBytes && this.account.isFull;
  }

  /** All that waited has been taken. `mayReadOn`: no answer waits behind it. */
  drained(mayReadOn = true): void {
    this.#count();
    this.#unasked = 0;
    if (!this.#isPaused || !mayReadOn) return;
    this.#isPaused = false;
    this.link.resume();
  }

  stop(): void {
    this.account.add(-this.#counted);
    this.#counted = 0;
    this.#isOver = true;
  }

  /** Whether so much waits that no request is read. */
  #check(pendingBytes: number): boolean {
    if (pendingBytes <= this.limits.sendBufferSoftBytes) return false;
    if (!this.#isPaused) {
      this.#isPaused = true;
      this.link.pause();
    }
    return true;
  }

  /** Tells the account of the bytes that wait. */
  #count(): number {
    const { pendingBytes } = this.link;
    if (!this.#isOver) this.account.add(pendingBytes - this.#counted);
    this.#counted = pendingBytes;
    return pendingBytes;
  }
}
