import type { Row } from '../row.js';
import type { Line } from './line-chart.js';

const SECOND_US = 1_000_000;

/** The quantile of the times of calls over time, in milliseconds by second. */
export function latencyOverTime(rows: readonly Row[], share: number): Line[] {
  return rows.map(({ name, log }) => ({
    name,
    points: log.quantiles(SECOND_US, share).map(([us, took]) => [us / SECOND_US, took / 1_000]),
  }));
}

/** The share of all connections that were made in each interval, in percent by second. */
export function connectionsOverTime(rows: readonly Row[], intervalUs: number): Line[] {
  return rows.map(({ name, connectedUs }) => {
    const end = Math.floor((connectedUs.at(-1) ?? 0) / intervalUs) + 1;
    const counts = Array.from({ length: end + 1 }, () => 0);
    for (const us of connectedUs) (counts[Math.floor(us / intervalUs)] as number) += 1;
    return {
      name,
      points: counts.map((count, index) => [
        (index * intervalUs) / SECOND_US,
        (count / connectedUs.length) * 100,
      ]),
    };
  });
}
