import type { Clock, Timer } from '../../protocol/clock.js';
import type { KeepAliveOptions } from '../limits.js';

/** What the keep-alive of a connection asks of it. */
export interface KeepAliveTarget {
  /** Sends a ping; any bytes that come in count as its answer. */
  ping(): void;
  /** The peer has been silent for too long. */
  lost(): void;
  /** This side reads nothing now, so that the peer's silence says nothing. Each reason for that has an end of its own. */
  isDeaf(): boolean;
  /** Calls of this side wait for their answers. */
  isWaiting(): boolean;
  /** Whether this side makes calls at all. */
  readonly mayWait: boolean;
  /** Calls have come or gone since the last question, or are open. */
  isBusy(): boolean;
  /** No call for the idle time. */
  idle(): void;
}

/** A look that comes late by this part of the timeout says nothing of the peer: this process stood still. */
const STALL_SHARE = 4;

/**
 * Watches a connection with one timer, which is not moved with every frame: a look finds how long the peer has been silent.
 * Silence for an interval sends a ping, or for the time of an answer where calls wait for one; silence on so many pings ends
 * the connection.
 */
export class KeepAlive {
  #heardAt: number;
  /** A ping has gone out, and nothing has come since. */
  #isAsking = false;
  #missed = 0;
  #idleSince: number;
  #dueAt = 0;
  #intervalMs: number;
  #timer: Timer | undefined;

  constructor(
    private readonly target: KeepAliveTarget,
    private readonly options: KeepAliveOptions,
    private readonly clock: Clock,
  ) {
    this.#heardAt = this.#idleSince = clock.now();
    this.#intervalMs = options.intervalMs;
  }

  /** Starts watching. `intervalMs` is this connection's own, so that not all ping together. */
  start(intervalMs = this.options.intervalMs): void {
    if (this.options.intervalMs <= 0) return;
    this.#intervalMs = intervalMs;
    this.#heardAt = this.clock.now();
    this.#wait(this.#nextLookMs(this.#patienceMs()));
  }

  /** Bytes came in. */
  heard(): void {
    this.#heardAt = this.clock.now();
    this.#isAsking = false;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #wait(ms: number): void {
    this.#dueAt = this.clock.now() + ms;
    this.#timer = this.clock.after(ms, this.#look);
  }

  /** How long the peer may be silent before it is asked. */
  #patienceMs(): number {
    return this.target.isWaiting() ? Math.min(this.options.timeoutMs, this.#intervalMs) : this.#intervalMs;
  }

  readonly #look = (): void => {
    const { timeoutMs, maxMissed, idleTimeoutMs } = this.options;
    const now = this.clock.now();
    if (this.target.isBusy()) this.#idleSince = now;
    else if (idleTimeoutMs > 0 && now - this.#idleSince >= idleTimeoutMs) return this.target.idle();
    if (this.target.isDeaf()) return this.#askUnheard(now);
    if (!this.#isAsking) this.#missed = 0;
    // this process stood still: nobody knows how the peer is, and its answer may lie in the socket, unread
    const isLate = (now - this.#dueAt) * STALL_SHARE >= timeoutMs;
    const leftMs = this.#heardAt + this.#patienceMs() - now;
    if (!isLate && !this.#isAsking && leftMs > 0) return this.#wait(this.#nextLookMs(leftMs));
    if (this.#missed >= maxMissed && !isLate) return this.target.lost();
    if (this.#missed < maxMissed) this.#missed += 1;
    this.#isAsking = true;
    this.target.ping();
    this.#wait(timeoutMs);
  };

  /**
   * A peer that is not read cannot be heard, so its silence is not counted. It is asked all the same: if it is gone, the kernel has no
   * answer to what is sent, and ends the connection.
   */
  #askUnheard(now: number): void {
    this.#missed = 0;
    if (this.#isAsking || this.#heardAt + this.#patienceMs() <= now) {
      this.target.ping();
      this.heard();
    }
    this.#wait(this.#nextLookMs(this.#heardAt + this.#patienceMs() - now));
  }

  /** A client looks more often: a call that it makes next has less patience than the connection. */
  #nextLookMs(leftMs: number): number {
    return this.target.mayWait ? Math.min(leftMs, this.options.timeoutMs) : leftMs;
  }
}
