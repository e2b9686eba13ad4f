import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { reportFiles } from './report/files.js';
import { runScenario } from './run-scenario.js';
import { SCENARIOS } from './scenarios/index.js';

/** From bench/dist/simulation/bench/cluster, where this file is compiled to. */
const DOCS = fileURLToPath(new URL('../../../../../docs/', import.meta.url));

const { values } = parseArgs({
  options: {
    /** Where the report is written to. */
    out: { type: 'string', default: DOCS },
    /** Fails if the report there is another one, and writes nothing. */
    check: { type: 'boolean', default: false },
    /** Leaves large scenarios out. */
    quick: { type: 'boolean', default: false },
  },
});
const results = SCENARIOS.filter(({ isLarge }) => !(values.quick && isLarge)).map((scenario) => {
  const started = process.cpuUsage();
  const result = runScenario(scenario);
  // to stderr: how long it took is no part of the result
  console.error(`${scenario.name}: ${(process.cpuUsage(started).user / 1e6).toFixed(1)} s of CPU`);
  return result;
});
for (const [name, content] of reportFiles(results)) {
  const path = `${values.out}/${name}`;
  if (!values.check) writeFileSync(path, content);
  else if (readFileSync(path, 'utf8') !== content) {
    console.error(`${path} is not what the code gives; see npm run simulate`);
    process.exitCode = 1;
  }
}
