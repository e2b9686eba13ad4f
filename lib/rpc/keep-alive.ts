import type { Clock, Timer } from '../protocol/clock.js';
import type { KeepAliveOptions } from './limits.js';

/** What the keep-alive of a connection asks of it. */
export interface KeepAliveTarget {
  /** Sends a ping; any bytes that come in count as its answer. */
  ping(): void;
  /** The peer has been silent for too long. */
  lost(): void;
  /** This side reads nothing now, so that the peer's silence says nothing. */
  isDeaf(): boolean;
  /** Calls have come or gone since the last question, or are open. */
  isBusy(): boolean;
  /** No call for the idle time. */
  idle(): void;
}

/** A look that comes late by this part of the timeout says nothing of the peer. */
const STALL_SHARE = 4;

/**
 * Watches a connection with one timer, which runs every interval and not with every frame: what came in between is a
 * flag. Silence for an interval sends a ping; silence on so many pings ends the connection.
 */
export class KeepAlive {
  #heard = true;
  #missed = 0;
  #idleSince: number;
  #dueAt = 0;
  #timer: Timer | undefined;

  constructor(
    private readonly target: KeepAliveTarget,
    private readonly options: KeepAliveOptions,
    private readonly clock: Clock,
  ) {
    this.#idleSince = clock.now();
  }

  /** Starts watching; the first look is after `firstMs`, by default an interval. */
  start(firstMs = this.options.intervalMs): void {
    if (this.options.intervalMs > 0) this.#wait(firstMs);
  }

  /** Bytes came in. */
  heard(): void {
    this.#heard = true;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #wait(ms: number): void {
    this.#dueAt = this.clock.now() + ms;
    this.#timer = this.clock.after(ms, this.#look);
  }

  readonly #look = (): void => {
    const { intervalMs, timeoutMs, maxMissed, idleTimeoutMs } = this.options;
    const now = this.clock.now();
    if (this.target.isBusy()) this.#idleSince = now;
    else if (idleTimeoutMs > 0 && now - this.#idleSince >= idleTimeoutMs) return this.target.idle();
    if (this.#heard || this.target.isDeaf()) {
      this.#heard = false;
      this.#missed = 0;
      this.#wait(intervalMs);
    } else if ((now - this.#dueAt) * STALL_SHARE >= timeoutMs) {
      // this process stood still: the answer may lie in the socket, unread
      this.#wait(timeoutMs);
    } else if (this.#missed >= maxMissed) {
      this.target.lost();
    } else {
      this.#missed += 1;
      this.target.ping();
      this.#wait(timeoutMs);
    }
  };
}
