import type { Clock, Timer } from '../protocol/clock.js';

/** Time that a closed connection has to send what was written last, before it is destroyed. */
const LINGER_MS = 100;
/** The same if much was written. A server that stops waits for it: a client that reads nothing must not hold it up. */
const LONG_LINGER_MS = 10_000;

export interface LingeringLink {
  readonly pendingBytes: number;
  destroy(): void;
}

export interface LingerOptions {
  readonly clock: Clock;
  /** Time in which a peer that reads takes what was written. */
  readonly stallTimeoutMs: number;
  /** A caller waits for the end: the peer gets the longer time in any case. */
  readonly isAwaited: boolean;
}

/** The last moments of a link that has ended: destroys it if the peer does not close the connection in time. */
export class Linger {
  #timer: Timer;

  constructor(
    private readonly link: LingeringLink,
    private readonly options: LingerOptions,
  ) {
    this.#timer = options.clock.after(LINGER_MS, () => this.#extend());
  }

  cancel(): void {
    this.#timer.cancel();
  }

  /**
   * Large answers that were sent just before the end get more time than a CLOSE. The kernel may still hold what it has
   * taken, and would drop that if the peer sent something to a socket that is destroyed.
   */
  #extend(): void {
    const { clock, stallTimeoutMs, isAwaited } = this.options;
    if (this.link.pendingBytes === 0 && !isAwaited) return this.link.destroy();
    this.#timer = clock.after(Math.min(LONG_LINGER_MS, stallTimeoutMs), () => this.link.destroy());
  }
}
