import { Fleet } from './fleet/fleet.js';
import { checked, type Part, type Section } from './part.js';
import { cellsOf, HEADINGS } from './report/columns.js';
import { lineChart } from './report/line-chart.js';
import { type Row, rowOf } from './row.js';
import type { Scenario } from './scenario.js';

/** The seed of the report. */
const SEED = 20_240_601;

/** The part of the report about a scenario. */
export function fleetPart(scenario: Scenario): Part {
  const { name, isLarge = false, isLong = false } = scenario;
  return { name, isLarge, isLong, run: () => sectionOf(scenario, runScenario(scenario)) };
}

/** The same seed gives the same rows. */
function runScenario({ setup, variants, script }: Scenario): Row[] {
  return variants.map((variant) => {
    const fleet = new Fleet({ ...setup, ...variant.setup, seed: SEED, balancer: variant.balancer });
    (variant.script ?? script)?.(fleet);
    fleet.run();
    return rowOf(fleet, variant.name);
  });
}

function sectionOf(scenario: Scenario, rows: readonly Row[]): Section {
  const { name, title, shows, differIn = 'Balancer', columns = [], bounds = [], chart } = scenario;
  const rowNamed = (wanted: string): Row => {
    const row = rows.find((each) => each.name === wanted);
    if (!row) throw new Error(`${name} has no row ${wanted}`);
    return row;
  };
  return {
    name,
    title,
    shows,
    headings: [differIn, ...HEADINGS, ...columns.map(({ heading }) => heading)],
    lines: rows.map((row) => [row.name, ...cellsOf(row), ...columns.map(({ of }) => of(row))]),
    bounds: bounds.map((bound) => checked(bound, bound.of(rowNamed))),
    picture: chart && lineChart(chart(rows)),
  };
}
