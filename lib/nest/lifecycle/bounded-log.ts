import type { Clock } from '../../protocol/clock.js';
import { systemClock } from '../../rpc/time/system-clock.js';
import { TokenBucket } from '../../rpc/time/token-bucket.js';

/** Bounds lines of the log that others can cause: a burst, then a rate. What had no room is counted, and the next line says so. */
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

  /** Begins anew, as if nothing had been logged. For tests that have more than one server in a process. */
  reset(): void {
    this.#allowance = new TokenBucket(this.clock, this.burst, this.perSecond);
    this.#missing = 0;
  }

  /**
   * Hands what `make` gives to `log`, if there is room. Throws nothing: neither a logger that fails nor a text that cannot be
   * made may end what they tell of.
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

/** What peers do: one allowance for the process, however many servers, clients and peers there are. */
export const peerLog = new BoundedLog(systemClock, 15, 1);

/**
 * Errors of the application that no filter of Nest has seen: of its middleware, processors, serializers and listeners. Apart from
 * what peers do, so that no stranger hides them.
 */
export const faultLog = new BoundedLog(systemClock, 50, 5);
