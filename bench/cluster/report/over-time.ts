import type { Row } from '../row.js';
import type { Line } from './line-chart.js';

/** The quantile of the times of calls over time, in milliseconds by second. */
export function latencyOverTime(rows: readonly Row[], share: number): Line[] {
  return rows.map(({ balancer, measures }) => ({
    name: balancer,
    points: measures.calls.quantiles(1_000_000, share).map(([us, took]) => [us / 1_000_000, took / 1_000]),
  }));
}
