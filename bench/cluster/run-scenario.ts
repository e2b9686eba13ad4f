import { BALANCERS } from './balancers.js';
import { Fleet } from './fleet/fleet.js';
import { type Result, rowOf } from './row.js';
import type { Scenario } from './scenario.js';

/** The seed of the report. */
export const SEED = 20_240_601;

/** Runs a scenario with each of its balancers. The same seed gives the same result. */
export function runScenario(scenario: Scenario, seed = SEED): Result {
  const rows = scenario.balancers.map((balancer) => {
    const fleet = new Fleet({ ...scenario.setup, seed, balancer: BALANCERS[balancer] });
    scenario.script?.(fleet);
    fleet.run();
    return rowOf(fleet, balancer);
  });
  return { scenario, rows };
}
