import { writeFileSync } from 'node:fs';
import { report } from './report/report.js';
import { runScenario } from './run-scenario.js';
import { SCENARIOS } from './scenarios/index.js';

// from bench/dist/simulation/bench/cluster
const docs = new URL('../../../../../docs/', import.meta.url);
const results = SCENARIOS.map((scenario) => {
  const started = performance.now();
  const result = runScenario(scenario);
  console.error(`${scenario.name}: ${((performance.now() - started) / 1_000).toFixed(1)} s`);
  return result;
});
writeFileSync(new URL('simulation.md', docs), report(results));
