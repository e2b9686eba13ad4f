/** Nonces of one key that are remembered at most. */
export const MAX_NONCES = 65_536;

export interface NonceCacheOptions {
  /** Time for which a nonce is remembered, counted from its message's timestamp, in seconds. */
  readonly keepSeconds: number;
  /** How often old nonces are dropped, in seconds. */
  readonly sweepSeconds: number;
  readonly maxNonces?: number;
}

/**
 * The nonces that were received under one key, in a bucket for each second of their timestamps, so that old ones are dropped
 * by the bucket. A full cache drops its oldest bucket, and accepts nothing of that age from then on: a forgotten nonce cannot
 * be replayed, and the time in which messages are accepted gets shorter instead of the memory larger. Messages dated in the
 * future may fill half of it: they must not shorten that time to nothing.
 */
export class NonceCache {
  readonly #seen = new Set<string>();
  readonly #buckets = new Map<number, string[]>();
  /** Nothing of this second or earlier is accepted. */
  #floor = -Infinity;
  #sweptAt = -Infinity;

  constructor(private readonly options: NonceCacheOptions) {}

  get size(): number {
    return this.#seen.size;
  }

  /** Adds a nonce; false if it was seen, or is too old to know. Times are Unix seconds. */
  add(nonce: string, timestamp: number, now: number): boolean {
    this.#sweep(now);
    const second = Math.floor(timestamp);
    if (second <= this.#floor || this.#seen.has(nonce)) return false;
    if (second > now && this.#isFullOfLater(now)) return false;
    this.#seen.add(nonce);
    const bucket = this.#buckets.get(second);
    if (bucket) bucket.push(nonce);
    else this.#buckets.set(second, [nonce]);
    if (this.#seen.size > (this.options.maxNonces ?? MAX_NONCES)) this.#giveUpOldest();
    return true;
  }

  #sweep(now: number): void {
    const { keepSeconds, sweepSeconds } = this.options;
    // a clock that was set back must not stop the clearing
    if (now >= this.#sweptAt && now < this.#sweptAt + sweepSeconds) return;
    this.#sweptAt = now;
    for (const second of this.#buckets.keys()) if (second < now - keepSeconds) this.#forget(second);
  }

  /**
   * Whether messages dated in the future have used up their half. The oldest bucket is never one of theirs then, and what is
   * dropped, and refused from then on, never lies in the future: current messages are soon accepted again.
   */
  #isFullOfLater(now: number): boolean {
    const share = Math.floor((this.options.maxNonces ?? MAX_NONCES) / 2);
    if (this.#seen.size < share) return false;
    let later = 0;
    for (const [second, nonces] of this.#buckets) if (second > now) later += nonces.length;
    return later >= share;
  }

  #giveUpOldest(): void {
    const oldest = Math.min(...this.#buckets.keys());
    this.#floor = Math.max(this.#floor, oldest);
    this.#forget(oldest);
  }

  #forget(second: number): void {
    for (const nonce of this.#buckets.get(second) ?? []) this.#seen.delete(nonce);
    this.#buckets.delete(second);
  }
}
