import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Compiled, compile } from '../helpers/compiled.js';

const DOCS = fileURLToPath(new URL('../../docs', import.meta.url));
const MAIN = 'bench/cluster/main.ts';

let compiled: Compiled;
let out: string;
/** The report of the scenarios that take little time; `npm run simulate -- --check` runs the others, too. */
let report: string;
let published: string;

beforeAll(async () => {
  const root = fileURLToPath(new URL('../../bench/cluster', import.meta.url));
  const files = (await readdir(root, { recursive: true })).filter((file) => file.endsWith('.ts'));
  compiled = await compile(files.map((file) => `bench/cluster/${file}`));
  out = await mkdtemp(join(tmpdir(), 'nestjs-rap-simulation-'));
  // a process of its own: Jest's scripts reach globals like Math some ten times slower
  await promisify(execFile)(process.execPath, [compiled.path(MAIN), '--quick', '--out', out]);
  report = await readFile(join(out, 'simulation.md'), 'utf8');
  published = await readFile(join(DOCS, 'simulation.md'), 'utf8');
}, 120_000);

afterAll(async () => {
  await compiled.remove();
  await rm(out, { recursive: true });
});

/** The parts about scenarios: those after the table of bounds. */
function sections(markdown: string): string[] {
  return (markdown.split(/^## Bounds$/m)[1] ?? '').split(/^(?=## )/m).slice(1);
}

/** The cells of the table of bounds. */
function bounds(markdown: string): string[][] {
  const table = markdown.split(/^## Bounds$/m)[1]?.split(/^## /m)[0] ?? '';
  const lines = table.split('\n').filter((line) => line.startsWith('| ['));
  return lines.map((line) => line.split('|').map((cell) => cell.trim()));
}

it('gives the same bytes as the published report', () => {
  expect(sections(report).length).toBeGreaterThan(5);
  for (const section of sections(report)) expect(published).toContain(`\n${section.trimEnd()}\n`);
  for (const bound of bounds(report)) expect(bounds(published)).toContainEqual(bound);
});

it('draws the same pictures', async () => {
  const pictures = (await readdir(out)).filter((file) => file.endsWith('.svg'));
  expect(pictures.length).toBeGreaterThan(0);
  for (const file of pictures)
    expect(await readFile(join(out, file), 'utf8')).toBe(await readFile(join(DOCS, file), 'utf8'));
});

it('keeps its bounds, those of large fleets included, or says why not', () => {
  expect(bounds(report).length).toBeGreaterThan(5);
  expect(bounds(published).length).toBeGreaterThan(bounds(report).length);
  const missed = [...bounds(report), ...bounds(published)].filter(
    (cells) => cells[5] !== 'yes' && cells[5] !== 'no, see below',
  );
  expect(missed.map((cells) => `${cells[2]}: ${cells[3]}, must be ${cells[4]}`)).toEqual([]);
});
