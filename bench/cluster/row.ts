import type { BalancerName } from './balancers.js';
import { quantile } from './fleet/call-log.js';
import type { Fleet } from './fleet/fleet.js';
import type { Measures } from './fleet/measures.js';
import type { Scenario } from './scenario.js';

/** What came out of one scenario with one balancer. */
export interface Row {
  readonly balancer: BalancerName;
  readonly measures: Measures;
  readonly calls: number;
  /** Share of calls that were answered. */
  readonly answered: number;
  /** Share of calls that were answered within a second. */
  readonly answeredWithin1s: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** Attempts for each call. */
  readonly amplification: number;
  /** The busiest server, relative to the mean of all. */
  readonly loadMaxToMean: number;
  readonly ejections: number;
}

export function rowOf({ measures }: Fleet, balancer: BalancerName): Row {
  const { calls, attempts, ejections, loads } = measures;
  const sorted = calls.sortedUs();
  return {
    balancer,
    measures,
    calls: calls.count,
    answered: calls.countOf('answered') / calls.count,
    answeredWithin1s: calls.answeredWithin(1_000_000) / calls.count,
    p50Ms: quantile(sorted, 0.5) / 1_000,
    p99Ms: quantile(sorted, 0.99) / 1_000,
    p999Ms: quantile(sorted, 0.999) / 1_000,
    amplification: attempts / calls.count,
    loadMaxToMean: maxToMean(loads),
    ejections,
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

/** The outcome of a scenario: a row for each of its balancers. */
export interface Result {
  readonly scenario: Scenario;
  readonly rows: readonly Row[];
}
