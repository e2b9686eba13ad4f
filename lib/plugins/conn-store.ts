import type { Clock } from '../protocol/clock.js';

/** A place among the connections that share a limit. */
export interface ConnPlace {
  /** Key of the limit: one for the middleware, or one for each address. */
  readonly key: string;
  /** Unique name of the connection. */
  readonly id: string;
}

export interface ConnLimit {
  readonly maxConnections: number;
  /** Time after an excess in which no places are given, in milliseconds. */
  readonly blockTimeMs: number;
  /** Time after which the places of a server that crashed are free, in milliseconds. For stores that outlive a server. */
  readonly leaseMs: number;
}

/** Counts connections. The one in memory counts those of its server; a shared one counts those of many. */
export interface ConnStore {
  /** Takes a place; false if there is none. Rejects if a shared store is down. */
  acquire(place: ConnPlace, limit: ConnLimit): boolean | Promise<boolean>;
  /** Takes a place regardless of the limit, for a connection that was admitted while the store was down. */
  hold?(place: ConnPlace, limit: ConnLimit): void;
  /** Releases the place. Never throws. */
  release(place: ConnPlace): void;
  /** Resolves when what was released is known to the other servers, or cannot be made known. */
  flush?(): Promise<void>;
}

/** Counts the connections of this process, exactly. */
export class MemoryConnStore implements ConnStore {
  readonly #counts = new Map<string, number>();
  readonly #blockedUntil = new Map<string, number>();

  constructor(private readonly clock: Clock) {}

  acquire({ key }: ConnPlace, { maxConnections, blockTimeMs }: ConnLimit): boolean {
    const count = this.#counts.get(key) ?? 0;
    if (this.#isBlocked(key)) return false;
    if (count >= maxConnections) {
      if (blockTimeMs > 0) this.#block(key, blockTimeMs);
      return false;
    }
    this.#counts.set(key, count + 1);
    return true;
  }

  release({ key }: ConnPlace): void {
    const left = (this.#counts.get(key) ?? 1) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
  }

  #isBlocked(key: string): boolean {
    const until = this.#blockedUntil.get(key);
    if (until === undefined) return false;
    if (this.clock.now() < until) return true;
    this.#blockedUntil.delete(key);
    return false;
  }

  #block(key: string, blockTimeMs: number): void {
    this.#blockedUntil.set(key, this.clock.now() + blockTimeMs);
    // an address that never connects again must not stay in memory
    this.clock.after(blockTimeMs, () => this.#isBlocked(key));
  }
}
