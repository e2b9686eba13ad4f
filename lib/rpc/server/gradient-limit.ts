import { inspect } from 'node:util';

/** How many calls may run at once, found out from how long they take. All numbers are above 0. */
export interface AdaptiveLimitOptions {
  /** The limit never falls below. Default 20, as Netflix's Gradient2. */
  readonly min: number;
  /** The limit never grows beyond. Default 1000. Netflix has 200, for servers with a thread for each call. */
  readonly max: number;
  /** The limit at the start, within `min` and `max`. Default 100. */
  readonly initial: number;
  /** How many times longer than usual calls may take before the limit falls; at least 1. Default 1.5, as Netflix. */
  readonly tolerance: number;
}

export const DEFAULT_ADAPTIVE_LIMIT: AdaptiveLimitOptions = {
  min: 20,
  max: 1000,
  initial: 100,
  tolerance: 1.5,
};

/** Share of a new estimate that is taken over. */
const SMOOTHING = 0.2;
/** Updates that the long average looks back: 2.5 minutes at four a second. */
const LONG_WINDOW = 600;
/** Updates at the start whose plain mean is the long average: the first one alone may be far off. */
const WARM_UP = 10;
/** Calls that may wait on top of what runs. The square root of the limit, if that is more: a large limit must not grow for minutes. */
const MIN_QUEUE = 4;
/** The limit falls by half of itself at most before smoothing: outliers must not close the server. */
const MIN_GRADIENT = 0.5;
/** After an overload the long average is too long; it falls by this part with each update until it fits again. */
const LONG_DECAY = 0.95;

/** Fills in the defaults. @throws RangeError that names the option which is out of range */
export function adaptiveLimitOf(given: {
  readonly [K in keyof AdaptiveLimitOptions]?: number | undefined;
}): AdaptiveLimitOptions {
  const { min = DEFAULT_ADAPTIVE_LIMIT.min, tolerance = DEFAULT_ADAPTIVE_LIMIT.tolerance } = given;
  const max = given.max ?? Math.max(min, DEFAULT_ADAPTIVE_LIMIT.max);
  const initial = given.initial ?? Math.min(max, Math.max(min, DEFAULT_ADAPTIVE_LIMIT.initial));
  for (const [name, value, from, to] of [
    ['min', min, 1, Infinity],
    ['max', max, min, Infinity],
    ['initial', initial, min, max],
    ['tolerance', tolerance, 1, Infinity],
  ] as const) {
    if (typeof value !== 'number' || !(value >= from && value <= to))
      throw new RangeError(
        `adaptiveLimit.${name} must be a number from ${from} to ${to}, got ${inspect(value)}`,
      );
  }
  return { min, max, initial, tolerance };
}

/**
 * Netflix's Gradient2: the limit of calls in flight follows the ratio of two averages of their latency. While calls take no
 * longer than usual, it grows by a small queue; if they take longer, something queues, and it falls in proportion.
 */
export class GradientLimit {
  #limit: number;
  #longMs = 0;
  #updates = 0;

  constructor(private readonly options: AdaptiveLimitOptions) {
    this.#limit = options.initial;
  }

  /** Calls that may run at once. */
  get limit(): number {
    return Math.floor(this.#limit);
  }

  /**
   * What a short window has shown.
   *
   * @param shortMs mean latency of its calls, in milliseconds
   * @param inFlight the most calls that ran at once in it
   */
  update(shortMs: number, inFlight: number): void {
    if (!(shortMs > 0)) return; // shorter than the clock can tell
    const { min, max, tolerance } = this.options;
    const longMs = this.#addToLong(shortMs);
    // a limit that is not used says nothing: it must not grow without bounds while there is little to do
    if (inFlight < this.#limit / 2) return;
    const gradient = Math.max(MIN_GRADIENT, Math.min(1, (tolerance * longMs) / shortMs));
    const estimate = this.#limit * gradient + Math.max(MIN_QUEUE, Math.sqrt(this.#limit));
    this.#limit = Math.max(min, Math.min(max, this.#limit * (1 - SMOOTHING) + estimate * SMOOTHING));
  }

  /** @returns the long average with this one, before it is corrected */
  #addToLong(shortMs: number): number {
    this.#updates += 1;
    const weight = this.#updates <= WARM_UP ? 1 / this.#updates : 2 / (LONG_WINDOW + 1);
    const longMs = this.#longMs + (shortMs - this.#longMs) * weight;
    this.#longMs = longMs > 2 * shortMs ? longMs * LONG_DECAY : longMs;
    return longMs;
  }
}
