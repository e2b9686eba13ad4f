import { readFileSync, writeFileSync } from 'node:fs';
import { report } from './report/report.js';
import { runScenario } from './run-scenario.js';
import { SCENARIOS } from './scenarios/index.js';

/** From bench/dist/simulation/bench/cluster, where this file is compiled to. */
const DOCS = new URL('../../../../../docs/', import.meta.url);

const isCheck = process.argv.includes('--check');
const results = SCENARIOS.map((scenario) => {
  const started = process.cpuUsage();
  const result = runScenario(scenario);
  // to stderr: how long it took is no part of the result
  console.error(`${scenario.name}: ${(process.cpuUsage(started).user / 1e6).toFixed(1)} s of CPU`);
  return result;
});
const file = new URL('simulation.md', DOCS);
const content = report(results);
if (!isCheck) writeFileSync(file, content);
else if (readFileSync(file, 'utf8') !== content) {
  console.error(`${file.pathname} is not what the code gives; see npm run simulate`);
  process.exitCode = 1;
}
