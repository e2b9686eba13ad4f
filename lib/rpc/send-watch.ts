import type { Clock, Timer } from '../protocol/clock.js';
import type { Link } from '../protocol/link.js';
import type { Account } from './account.js';
import type { RapLimits } from './limits.js';

/** Beyond the hard limit, a peer that has read nothing for so long is left. */
const READING_GRACE_MS = 1000;
/** A look that comes so late says nothing of the peer: this process stood still, and has not looked at its sockets. */
const LATE_MS = READING_GRACE_MS / 4;

/**
 * Watches what waits to be sent to a client. One that does not read what it asked for is asked nothing more of, and then
 * left. Many large answers may end in one moment: a client that reads them has its time for them.
 */
export class SendWatch {
  #isPaused = false;
  #isOver = false;
  #timer: Timer | undefined;
  #dueAt = 0;
  /** Unsent bytes that the account knows of. */
  #counted = 0;

  constructor(
    private readonly link: Link,
    private readonly limits: RapLimits,
    private readonly clock: Clock,
    /** The peer does not read; so many bytes wait. */
    private readonly onDeaf: (pendingBytes: number) => void,
    private readonly account: Account,
  ) {}

  /** Whether no request is read until the client has taken what waits. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Something was sent; `isAnswer` where the client had asked for it, and this side worked for it. */
  sent(isAnswer = false): void {
    const pendingBytes = this.#count();
    if (pendingBytes <= this.limits.sendBufferSoftBytes) return;
    if (!this.#isPaused) {
      this.#isPaused = true;
      this.link.pause();
    }
    if (pendingBytes <= this.limits.sendBufferHardBytes) return;
    if (isAnswer) this.#lookLater();
    else this.onDeaf(pendingBytes);
  }

  /** Whether an answer must wait: more is held than may be, and some of that is unsent answers to this client. */
  get isFull(): boolean {
    return this.#count() > this.limits.sendBufferSoftBytes && this.account.isFull;
  }

  /** All that waited has been taken. */
  drained(): void {
    this.#count();
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.link.resume();
  }

  stop(): void {
    this.#timer?.cancel();
    this.account.add(-this.#counted);
    this.#counted = 0;
    this.#isOver = true;
  }

  /** Tells the account of the bytes that wait. */
  #count(): number {
    const { pendingBytes } = this.link;
    if (!this.#isOver) this.account.add(pendingBytes - this.#counted);
    this.#counted = pendingBytes;
    return pendingBytes;
  }

  #lookLater(): void {
    if (this.#timer) return;
    this.#dueAt = this.clock.now() + READING_GRACE_MS;
    this.#timer = this.clock.after(READING_GRACE_MS, this.#look);
  }

  readonly #look = (): void => {
    this.#timer = undefined;
    const { pendingBytes, blockedMs } = this.link;
    if (pendingBytes <= this.limits.sendBufferHardBytes) return;
    const isLate = this.clock.now() - this.#dueAt >= LATE_MS;
    if (!isLate && blockedMs >= READING_GRACE_MS) this.onDeaf(pendingBytes);
    else this.#lookLater();
  };
}
