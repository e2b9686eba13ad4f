import { type Outcome, OUTCOMES } from './outcome.js';

/** When each call began, how long it took and how it ended. Calls are entered as they end. */
export class CallLog {
  count = 0;
  #startedUs = new Float64Array(65_536);
  #tookUs = new Int32Array(65_536);
  #outcomes = new Uint8Array(65_536);

  add(startedUs: number, tookUs: number, outcome: Outcome): void {
    if (this.count === this.#startedUs.length) this.#grow();
    this.#startedUs[this.count] = startedUs;
    this.#tookUs[this.count] = tookUs;
    this.#outcomes[this.count] = OUTCOMES.indexOf(outcome);
    this.count += 1;
  }

  startedUs(index: number): number {
    return this.#startedUs[index] as number;
  }

  tookUs(index: number): number {
    return this.#tookUs[index] as number;
  }

  isAnswered(index: number): boolean {
    return this.#outcomes[index] === 0;
  }

  /** Calls that have ended so. */
  countOf(outcome: Outcome): number {
    const wanted = OUTCOMES.indexOf(outcome);
    let count = 0;
    for (let index = 0; index < this.count; index += 1) if (this.#outcomes[index] === wanted) count += 1;
    return count;
  }

  /** Answered calls that took at most so long. */
  answeredWithin(us: number): number {
    let count = 0;
    for (let index = 0; index < this.count; index += 1)
      if (this.isAnswered(index) && this.tookUs(index) <= us) count += 1;
    return count;
  }

  /** Share of the calls that began then or later that were answered. */
  answeredFrom(us: number): number {
    let answered = 0;
    let all = 0;
    for (let index = 0; index < this.count; index += 1) {
      if (this.startedUs(index) < us) continue;
      all += 1;
      if (this.isAnswered(index)) answered += 1;
    }
    return answered / all;
  }

  /** The times that calls took, answered or not, in order. */
  sortedUs(): Int32Array {
    return this.#tookUs.subarray(0, this.count).toSorted();
  }

  /** For each interval: its begin, and how many of the calls that began in it were answered. */
  answeredOverTime(intervalUs: number): [us: number, count: number][] {
    const counts: number[] = [];
    for (let index = 0; index < this.count; index += 1) {
      const interval = Math.floor(this.startedUs(index) / intervalUs);
      counts[interval] = (counts[interval] ?? 0) + (this.isAnswered(index) ? 1 : 0);
    }
    return counts.flatMap((count, interval): [number, number][] => [[interval * intervalUs, count]]);
  }

  /** For each interval: its begin, and the quantile of the times of the calls that began in it. */
  quantiles(intervalUs: number, share: number): [us: number, tookUs: number][] {
    const intervals: number[][] = [];
    for (let index = 0; index < this.count; index += 1)
      (intervals[Math.floor(this.startedUs(index) / intervalUs)] ??= []).push(this.tookUs(index));
    return intervals.flatMap((times, interval): [number, number][] => [
      [
        interval * intervalUs,
        quantile(
          times.toSorted((a, b) => a - b),
          share,
        ),
      ],
    ]);
  }

  #grow(): void {
    const [started, took, outcomes] = [this.#startedUs, this.#tookUs, this.#outcomes];
    this.#startedUs = new Float64Array(this.count * 2);
    this.#tookUs = new Int32Array(this.count * 2);
    this.#outcomes = new Uint8Array(this.count * 2);
    this.#startedUs.set(started);
    this.#tookUs.set(took);
    this.#outcomes.set(outcomes);
  }
}

/** The value below which this share of sorted values lies; 0 if there are none. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
