import { readFileSync } from 'node:fs';
import { DEFAULT_BUDGET } from '../../lib/cluster/failures/retry-budget.js';
import { DEFAULT_EJECT, DEFAULT_HEDGE, retryOptions } from '../../lib/cluster/failures/failure-options.js';
import { DEFAULT_POOL } from '../../lib/cluster/pool.js';

const page = readFileSync(new URL('../../docs/cluster.md', import.meta.url), 'utf8');

/** Names and defaults of the table under its first cell. */
function defaultsOf(option: string): Record<string, number> {
  const table = page.split(new RegExp(`\n\\| option of \`${option}\` +\\|`))[1]?.split('\n\n')[0] ?? '';
  const rows = [...table.matchAll(/^\| `(\w+)` *\| ([^|]*)\|/gm)];
  return Object.fromEntries(
    rows.map(([, name, value = '']) => [name, Number(value.trim().replaceAll(',', '') || NaN)]),
  );
}

it.each([
  ['pool', DEFAULT_POOL],
  ['eject', DEFAULT_EJECT],
  ['hedge', DEFAULT_HEDGE],
  ['retry', { ...retryOptions(undefined), budget: NaN }],
])('docs/cluster.md names every option of %s, with its default', (option, defaults) => {
  expect(defaultsOf(option)).toEqual({ ...defaults });
});

it('docs/cluster.md names the defaults of the budget', () => {
  const { ratio, perSecond } = DEFAULT_BUDGET;
  expect(page).toContain(`\`ratio\` (${ratio}) of its calls`);
  expect(page).toContain(`\`perSecond\` (${perSecond})`);
});

it('docs/cluster.md describes every state of a server, and no other', () => {
  const source = readFileSync(new URL('../../lib/cluster/endpoint.ts', import.meta.url), 'utf8');
  const type = source.split('type State =')[1]?.split(';\n\n')[0] ?? '';
  const states = [...type.matchAll(/'(\w+)'/g)].map(([, name]) => name);
  const section = page.split('\n## States of a server\n')[1]?.split('\n## ')[0] ?? '';
  const described = [...section.matchAll(/^\| `(\w+)` /gm)].map(([, name]) => name);
  const probes = new Set<unknown>(['waiting', 'due', 'running']);
  expect(new Set(described)).toEqual(new Set(states.filter((name) => !probes.has(name))));
});
