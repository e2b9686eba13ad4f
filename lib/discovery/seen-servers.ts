import { addressText } from '../protocol/server-address.js';
import type { ServerAddress } from '../cluster/server-address.js';
import { stableSubset } from './stable-subset.js';

/** A server of an answer. */
export interface FoundServer {
  readonly address: ServerAddress;
  /** The query that found it: `A`, `AAAA`, or the target of an SRV record. */
  readonly source: string;
}

export interface SeenOptions {
  /** How long a server stays after it has vanished. */
  readonly keepMs: number;
  readonly maxServers: number;
  /** Of the subset, if there are more servers. */
  readonly seed: number;
}

interface Seen extends FoundServer {
  readonly key: string;
  /** Since when answers lack it. */
  vanishedAt?: number | undefined;
  /** Answers in a row that lacked it. */
  missed: number;
}

/** How long answers count as samples after a server that had vanished came back. */
const SAMPLED_MS = 600_000;
/** Chance that a server which is there is missing from so many random samples in a row. */
const TOLERANCE = 1e-6;

/** The servers of all answers of late: one answer may name only some of them. */
export class SeenServers {
  #servers = new Map<string, Seen>();
  #sampledUntil = -Infinity;
  /** Part of the servers that an answer names. */
  #share = 1;
  #leftOut = 0;

  constructor(private readonly options: SeenOptions) {}

  /** Servers that found no room. */
  get leftOut(): number {
    return this.#leftOut;
  }

  /** Whether a server is missing from the last answer: the next answer is needed soon. */
  get isPartial(): boolean {
    for (const { vanishedAt } of this.#servers.values()) if (vanishedAt !== undefined) return true;
    return false;
  }

  /** @param failed sources that did not answer: what they had found stays */
  take(found: readonly FoundServer[], failed: ReadonlySet<string>, now: number): void {
    const seen = new Map<string, Seen>();
    for (const each of found) {
      const key = addressText(each.address);
      if (!seen.has(key)) seen.set(key, { ...each, key, missed: 0 });
    }
    const present = seen.size;
    for (const [key, before] of this.#servers) {
      if (seen.has(key)) {
        if (before.vanishedAt !== undefined) this.#sampledUntil = now + SAMPLED_MS;
        continue;
      }
      if (!failed.has(before.source)) {
        before.vanishedAt ??= now;
        before.missed += 1;
      }
      seen.set(key, before);
    }
    this.#share = seen.size === 0 ? 1 : present / seen.size;
    this.#keep(seen);
    this.expire(now);
  }

  /** Removes those that vanished long enough ago. */
  expire(now: number): void {
    const least = this.#leastMissed(now);
    for (const [key, { vanishedAt, missed }] of this.#servers) {
      if (vanishedAt === undefined || missed < least) continue;
      if (now - vanishedAt >= this.options.keepMs) this.#servers.delete(key);
    }
  }

  /** Time until the next one is removed, if no answer comes before. */
  expiresInMs(now: number): number | undefined {
    const least = this.#leastMissed(now);
    let first: number | undefined;
    for (const { vanishedAt, missed } of this.#servers.values()) {
      if (vanishedAt === undefined || missed < least) continue;
      first = Math.min(first ?? Infinity, vanishedAt);
    }
    return first === undefined ? undefined : Math.max(0, first + this.options.keepMs - now);
  }

  list(): ServerAddress[] {
    return Array.from(this.#servers.values(), ({ address }) => address);
  }

  #keep(seen: Map<string, Seen>): void {
    const kept = stableSubset(
      [...seen.values()],
      this.options.maxServers,
      this.options.seed,
      ({ key }) => key,
    );
    this.#leftOut = seen.size - kept.length;
    this.#servers = new Map(kept.map((each) => [each.key, each]));
  }

  /**
   * Some name servers answer with a random part. A server is given up there only after so many answers that it cannot have been
   * missing from all by chance: 80 for 8 of 50.
   */
  #leastMissed(now: number): number {
    if (now >= this.#sampledUntil || this.#share >= 1) return 0;
    if (this.#share === 0) return 0; // an empty answer is no sample
    return Math.ceil(Math.log(TOLERANCE) / Math.log(1 - this.#share));
  }
}
