import { type CallLog, quantile } from './fleet/call-log.js';
import type { Fleet } from './fleet/fleet.js';

/** What came out of one run of a scenario. Keeps nothing of the fleet, which may be large. */
export interface Row {
  readonly name: string;
  /** Each call. */
  readonly log: CallLog;
  readonly calls: number;
  /** Share of calls that were answered. */
  readonly answered: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** Attempts for each call. */
  readonly amplification: number;
  /** Share of its cores that each server used. */
  readonly loads: readonly number[];
  readonly ejections: number;
  /** Second attempts of calls that took long. */
  readonly hedges: number;
  /** When clients got a connection again, in microseconds, in order. */
  readonly connectedUs: readonly number[];
  /** Share of the calls with a key that went to the same server as the one before with that key. */
  readonly sameServer: number;
}

export function rowOf({ measures }: Fleet, name: string): Row {
  const { calls: log, attempts, ejections, hedges, loads, connectedUs, affinity } = measures;
  const sorted = log.sortedUs();
  return {
    name,
    log,
    calls: log.count,
    answered: log.countOf('answered') / log.count,
    p50Ms: quantile(sorted, 0.5) / 1_000,
    p99Ms: quantile(sorted, 0.99) / 1_000,
    p999Ms: quantile(sorted, 0.999) / 1_000,
    amplification: attempts / log.count,
    loads,
    ejections,
    hedges,
    connectedUs,
    sameServer: affinity.share,
  };
}

/** The largest of some values, relative to their mean. */
export function maxToMean(values: readonly number[]): number {
  let sum = 0;
  let max = 0;
  for (const value of values) {
    sum += value;
    if (value > max) max = value;
  }
  return (max * values.length) / sum;
}

/** The largest share of times that lies in one interval of this length; the times are in order. */
export function busiestShare(times: readonly number[], length: number): number {
  let first = 0;
  let most = 0;
  times.forEach((time, index) => {
    while (time - (times[first] as number) >= length) first += 1;
    most = Math.max(most, index - first + 1);
  });
  return most / times.length;
}
