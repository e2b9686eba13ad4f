import { readFileSync } from 'node:fs';
import { DEFAULT_RECONNECT } from '../../lib/cluster/backoff.js';
import { CLIENT_KEEP_ALIVE, DEFAULT_LIMITS, SERVER_KEEP_ALIVE } from '../../lib/rpc/limits.js';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

/** The rows of the table under a heading: the cells of each. */
function table(heading: string): string[][] {
  const section = readme.split(`\n### ${heading}\n`)[1]?.split(/\n##+ /)[0] ?? '';
  const lines = section.split('\n').filter((line) => line.startsWith('| `'));
  return lines.map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()));
}

const namesOf = (cell = ''): string[] => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name as string);

/** `4 MiB`, `10,000`, `30,000 ± 10 %` and `60, 10` as numbers. */
function numbersOf(cell = ''): number[] {
  const units: Record<string, number> = { KiB: 1024, MiB: 1024 * 1024 };
  return cell.split(', ').map((text) => {
    const [number = '', unit = ''] = text.replaceAll(',', '').split(' ');
    return Number(number) * (units[unit] ?? 1);
  });
}

/** Names and numbers of one column. */
function documented(heading: string, column: number): Record<string, number | undefined> {
  return Object.fromEntries(
    table(heading).flatMap((cells) => {
      const numbers = numbersOf(cells[column]);
      return namesOf(cells[1]).map((name, i) => [name, numbers[i]]);
    }),
  );
}

it.each([
  ['limits', 2, DEFAULT_LIMITS],
  ['keepAlive', 2, SERVER_KEEP_ALIVE],
  ['keepAlive', 3, CLIENT_KEEP_ALIVE],
  ['reconnect', 2, DEFAULT_RECONNECT],
])('the README names every option of %s, with its default (column %d)', (heading, column, defaults) => {
  expect(documented(heading, column)).toEqual({ ...defaults });
});
