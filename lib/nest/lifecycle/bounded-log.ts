import type { Clock } from '../../protocol/clock.js';
import { systemClock } from '../../rpc/time/system-clock.js';
import { TokenBucket } from '../../rpc/time/token-bucket.js';

/** Limits log lines that others can cause: a burst, then a rate. The next line says how many were left out. */
export class BoundedLog {
  #allowance!: TokenBucket;
  #missing = 0;

  constructor(
    private readonly clock: Clock,
    private readonly burst: number,
    private readonly perSecond: number,
  ) {
    this.reset();
  }

  /** Starts again, as if nothing had been logged. For tests with more than one server in a process. */
  reset(): void {
    this.#allowance = new TokenBucket(this.clock, this.burst, this.perSecond);
    this.#missing = 0;
  }

  /**
   * Passes the result of `make` to `log`, if there is room. Never throws: neither a logger that fails nor a text that cannot
   * be made may stop the caller.
   *
   * @returns whether there was room
   */
  write(log: (line: unknown) => void, make: () => unknown): boolean {
    if (!this.#allowance.take()) {
      this.#missing += 1;
      return false;
    }
    const missing = this.#missing;
    this.#missing = 0;
    try {
      const lines = missing === 1 ? 'line was' : 'lines were';
      if (missing > 0) log(`${missing} more ${lines} not logged: there were too many`);
      log(make());
    } catch {
      // see above
    }
    return true;
  }
}

/** For what peers do: one allowance for all servers, clients and peers of the process. */
export const peerLog = new BoundedLog(systemClock, 15, 1);

/**
 * For errors of the application that no filter of Nest has seen: of its middleware, processors, serializers and listeners.
 * Separate from `peerLog`, so that a hostile peer cannot hide them.
 */
export const faultLog = new BoundedLog(systemClock, 50, 5);

/** For changes of the state of servers that clients use: a large fleet that restarts must not fill the log. */
export const endpointLog = new BoundedLog(systemClock, 30, 1);
