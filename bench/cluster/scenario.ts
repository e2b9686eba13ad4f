import type { BalancerName } from './balancers.js';
import type { Fleet, FleetOptions } from './fleet/fleet.js';
import type { LineChart } from './report/line-chart.js';
import type { Row } from './row.js';

/** The fleet of a scenario; seed and balancer come with the run. */
export type Setup = Omit<FleetOptions, 'seed' | 'balancer'>;

/** What must hold for a row of a scenario. */
export interface Bound {
  /** In the words of the report. */
  readonly what: string;
  readonly balancer: BalancerName;
  readonly of: (row: Row) => number;
  readonly digits: number;
  readonly atMost?: number;
  readonly atLeast?: number;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** What happens, and what to look at. */
  readonly shows: string;
  readonly setup: Setup;
  readonly balancers: readonly BalancerName[];
  /** What happens to the fleet. */
  readonly script?: (fleet: Fleet) => void;
  readonly bounds?: readonly Bound[];
  /** A picture of the rows. */
  readonly chart?: (rows: readonly Row[]) => LineChart;
  /** Takes too long for each run of the tests. */
  readonly isLarge?: boolean;
}
