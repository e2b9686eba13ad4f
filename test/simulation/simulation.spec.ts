import { readFileSync } from 'node:fs';
import { boundLines, holds, rowFor, section } from '../../bench/cluster/report/report.js';
import { runScenario } from '../../bench/cluster/run-scenario.js';
import { SCENARIOS } from '../../bench/cluster/scenarios/index.js';

const published = readFileSync(new URL('../../docs/simulation.md', import.meta.url), 'utf8');
// `npm run simulate -- --check` runs the others, too
const quick = SCENARIOS.filter(({ isLarge }) => !isLarge);

it.each(quick.map((scenario) => [scenario.name, scenario] as const))(
  'gives the same bytes as docs/simulation.md for %s',
  (_, scenario) => {
    const result = runScenario(scenario);
    expect(published).toContain(section(result));
    for (const cells of boundLines(result)) expect(published.split('\n').map(cellsOf)).toContainEqual(cells);
    for (const bound of scenario.bounds ?? [])
      expect([bound.what, holds(bound, rowFor(result, bound))]).toEqual([bound.what, true]);
  },
);

function cellsOf(line: string): string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());
}

it('describes each scenario, and no other', () => {
  const titles = published.split('\n').filter((line) => line.startsWith('## '));
  expect(titles).toEqual(['## Bounds', ...SCENARIOS.map(({ title }) => `## ${title}`)]);
});
