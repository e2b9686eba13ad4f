import type { Clock, Timer } from '../../protocol/clock.js';
import type { KeepAliveOptions } from '../limits.js';

/** What the keep-alive needs from its connection. */
export interface KeepAliveTarget {
  /** Sends a ping; any received bytes count as its answer. */
  ping(): void;
  /** `maxMissed` pings were not answered. */
  lost(): void;
  /** Reading is paused, so the peer's silence proves nothing. Every pause has its own timeout. */
  isReadingPaused(): boolean;
  /** Whether calls of this side wait for their answers. */
  hasCallsInFlight(): boolean;
  /** Whether this side makes calls at all: a client. */
  readonly makesCalls: boolean;
  /** Whether calls were started since the last check, or are in flight. */
  isBusy(): boolean;
  /** No call for `idleTimeoutMs`. */
  idle(): void;
}

/** A check that is late by `timeoutMs` over this proves nothing about the peer: this process was stalled. */
const STALL_DIVISOR = 4;

/**
 * Keep-alive of a connection with one timer, which is not reset by each frame: a check computes how long the peer has been
 * silent. Silence of `intervalMs`, or of `timeoutMs` while calls are in flight, sends a ping; `maxMissed` unanswered
 * pings end the connection.
 */
export class KeepAlive {
  #heardAt: number;
  /** A ping was sent, and nothing received since. */
  #isPinging = false;
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

  /** `intervalMs` has jitter, so that not all connections ping together. */
  start(intervalMs = this.options.intervalMs): void {
    if (this.options.intervalMs <= 0) return;
    this.#intervalMs = intervalMs;
    this.#heardAt = this.clock.now();
    this.#wait(this.#nextCheckMs(this.#maxSilenceMs()));
  }

  /** Bytes were received. */
  heard(): void {
    this.#heardAt = this.clock.now();
    this.#isPinging = false;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #wait(ms: number): void {
    this.#dueAt = this.clock.now() + ms;
    this.#timer = this.clock.after(ms, this.#check);
  }

  /** How long the peer may be silent before it is pinged. */
  #maxSilenceMs(): number {
    return this.target.hasCallsInFlight()
      ? Math.min(this.options.timeoutMs, this.#intervalMs)
      : this.#intervalMs;
  }

  readonly #check = (): void => {
    const { timeoutMs, maxMissed, idleTimeoutMs } = this.options;
    const now = this.clock.now();
    if (this.target.isBusy()) this.#idleSince = now;
    else if (idleTimeoutMs > 0 && now - this.#idleSince >= idleTimeoutMs) return this.target.idle();
    if (this.target.isReadingPaused()) return this.#pingWhilePaused(now);
    if (!this.#isPinging) this.#missed = 0;
    // this process was stalled: the peer's answer may be in the socket, unread
    const isLate = (now - this.#dueAt) * STALL_DIVISOR >= timeoutMs;
    const leftMs = this.#heardAt + this.#maxSilenceMs() - now;
    if (!isLate && !this.#isPinging && leftMs > 0) return this.#wait(this.#nextCheckMs(leftMs));
    if (this.#missed >= maxMissed && !isLate) return this.target.lost();
    if (this.#missed < maxMissed) this.#missed += 1;
    this.#isPinging = true;
    this.target.ping();
    this.#wait(timeoutMs);
  };

  /**
   * While reading is paused, silence does not count. The ping is still sent: if the peer is gone, the kernel gets no ACK
   * for it and ends the connection.
   */
  #pingWhilePaused(now: number): void {
    this.#missed = 0;
    if (this.#isPinging || this.#heardAt + this.#maxSilenceMs() <= now) {
      this.target.ping();
      this.heard();
    }
    this.#wait(this.#nextCheckMs(this.#heardAt + this.#maxSilenceMs() - now));
  }

  /** A client checks more often: a call made before the next check shortens the allowed silence. */
  #nextCheckMs(leftMs: number): number {
    return this.target.makesCalls ? Math.min(leftMs, this.options.timeoutMs) : leftMs;
  }
}
