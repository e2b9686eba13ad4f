import type { Fleet, FleetOptions, MakeBalancer } from './fleet/fleet.js';
import type { LineChart } from './report/line-chart.js';
import type { Limit } from './part.js';
import type { Row } from './row.js';

/** The fleet of a scenario; seed and balancer come with the run. */
export type Setup = Omit<FleetOptions, 'seed' | 'balancer'>;

/** What happens to a fleet. */
export type Script = (fleet: Fleet) => void;

/** One run of a scenario, and its row in the report. */
export interface Variant {
  readonly name: string;
  readonly balancer: MakeBalancer;
  /** What differs from the setup of the scenario. */
  readonly setup?: Partial<Setup>;
  /** Instead of the script of the scenario. */
  readonly script?: Script;
}

/** A figure that only some scenarios show. */
export interface Column {
  readonly heading: string;
  readonly of: (row: Row) => string;
}

/** Gives the row of a name. */
export type Rows = (name: string) => Row;

/** What must hold for the rows of a scenario. */
export interface Bound extends Limit {
  readonly of: (rows: Rows) => number;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** What happens, and what to look at. */
  readonly shows: string;
  readonly setup: Setup;
  /** What the rows differ in. Default: the balancer. */
  readonly differIn?: string;
  readonly variants: readonly Variant[];
  readonly script?: Script;
  readonly columns?: readonly Column[];
  readonly bounds?: readonly Bound[];
  /** A picture of the rows. */
  readonly chart?: (rows: readonly Row[]) => LineChart;
  /** Takes too long for each run of the tests. */
  readonly isLarge?: boolean;
  /** Takes too long for the report: runs only if it is asked for by name. */
  readonly isLong?: boolean;
}
