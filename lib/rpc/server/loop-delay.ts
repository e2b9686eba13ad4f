/** Delays that are kept: more than one second of them. */
const KEPT = 64;
/** How far back the median looks. */
const WINDOW_MS = 1000;
/** The median of fewer delays says nothing: one long handler is no overload, however long. */
const MIN_DELAYS = 5;

/**
 * Delay of the event loop: the median of how late timers were, in the last second. If the loop is so slow that the second has
 * fewer than five, of the last five.
 */
export class LoopDelay {
  /** In milliseconds; 0 until five delays are known. */
  medianMs = 0;

  readonly #delays = new Float64Array(KEPT);
  readonly #times = new Float64Array(KEPT);
  readonly #sorted = new Float64Array(KEPT);
  #count = 0;

  /** A timer was late by this much. */
  add(delayMs: number, now: number): void {
    const at = this.#count % KEPT;
    this.#delays[at] = delayMs;
    this.#times[at] = now;
    this.#count += 1;
    this.medianMs = this.#count < MIN_DELAYS ? 0 : this.#median(now);
  }

  /** Forgets all. */
  reset(): void {
    this.#count = 0;
    this.medianMs = 0;
  }

  #median(now: number): number {
    const known = Math.min(this.#count, KEPT);
    let used = 0;
    while (used < known) {
      const at = (this.#count - 1 - used) % KEPT;
      if (used >= MIN_DELAYS && (this.#times[at] as number) <= now - WINDOW_MS) break;
      this.#sorted[used] = this.#delays[at] as number;
      used += 1;
    }
    this.#sorted.subarray(0, used).sort();
    return this.#sorted[(used - 1) >> 1] as number;
  }
}
