import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isAsSaid, type Part, type Section } from './part.js';
import { reportFiles } from './report/files.js';
import { PARTS } from './scenarios/index.js';

/** From bench/dist/simulation/bench/cluster, where this file is compiled to. */
const DOCS = fileURLToPath(new URL('../../../../../docs/', import.meta.url));

const { values } = parseArgs({
  options: {
    /** Where the report is written to. */
    out: { type: 'string', default: DOCS },
    /** Fails if the report there is another one, or a bound is not kept and nothing says why. Writes nothing. */
    check: { type: 'boolean', default: false },
    /** Leaves large scenarios out. */
    quick: { type: 'boolean', default: false },
    /** Runs these scenarios only. */
    only: { type: 'string', multiple: true },
  },
});

const sections = PARTS.filter(isWanted).map(run);
for (const [name, content] of reportFiles(sections)) {
  const path = `${values.out}/${name}`;
  if (!values.check) writeFileSync(path, content);
  else if (readFileSync(path, 'utf8') !== content)
    fail(`${path} is not what the code gives; see npm run simulate`);
}
for (const { name, bounds } of sections) {
  for (const bound of bounds)
    if (values.check && !isAsSaid(bound))
      fail(`${name}: ${bound.what} is ${bound.measured}, must be ${bound.limit}`);
}

function isWanted({ name, isLarge, isLong = false }: Part): boolean {
  if (values.only) return values.only.includes(name);
  return !isLong && !(values.quick && isLarge);
}

function run(part: Part): Section {
  const started = process.cpuUsage();
  const section = part.run();
  // to stderr: how long it took is no part of the result
  console.error(`${part.name}: ${(process.cpuUsage(started).user / 1e6).toFixed(1)} s of CPU`);
  return section;
}

function fail(message: string): void {
  console.error(message);
  process.exitCode = 1;
}
