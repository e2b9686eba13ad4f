/** Bounds of the delays between tries, in milliseconds. */
export interface RetryBounds {
  readonly baseMs: number;
  readonly maxMs: number;
}

/**
 * Doubles with each failure in a row, up to the highest bound. Half of it is jitter, so that clients do not ask in step; the
 * other half is always waited, so that no series of short delays becomes a spin.
 */
export function retryDelayMs(failures: number, { baseMs, maxMs }: RetryBounds, random: () => number): number {
  const bound = Math.min(maxMs, baseMs * 2 ** Math.min(failures, 30));
  return (bound * (1 + random())) / 2;
}
