// Packs the package as npm would publish it and proves that it works for those who install it: in a Nest 12 app
// (ES modules), in a Nest 11 app (CommonJS), in a Jest project as Nest 11 sets it up (CommonJS, installed with pnpm), and in
// minified bundles; and that nestjs-rap/testing works under Jest (ES modules, CommonJS), Vitest and node:test. Then publint and attw judge the same tarball.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

const root = fileURLToPath(new URL('../..', import.meta.url));
const templates = fileURLToPath(new URL('apps', import.meta.url));
const temp = mkdtempSync(join(tmpdir(), 'nestjs-rap-'));

const stepTimeoutMs = 300_000;
/** The app must end by itself: a client or server that leaves a handle open shows up here. */
const appTimeoutMs = 60_000;

try {
  const tarball = pack();
  checkApp('nest12-esm', tarball);
  checkApp('nest11-cjs', tarball);
  checkJest('nest11-jest', tarball);
  checkBundles('nest12-bundle', tarball);
  checkTesting(tarball);
  lintPackage(tarball);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(temp, { recursive: true, force: true });
}

function pack() {
  run('package: npm pack', 'npm', ['pack', '--pack-destination', temp], { cwd: root });
  const tarball = readdirSync(temp).find((file) => file.endsWith('.tgz'));
  if (tarball === undefined) throw new Error('package: npm pack wrote no tarball');
  return join(temp, tarball);
}

function checkApp(name, tarball) {
  const cwd = copyOf(name);
  run(`${name}: install`, 'npm', ['install', '--no-audit', '--no-fund', tarball], { cwd });
  run(`${name}: type-check and compile`, bin(cwd, 'tsc'), [], { cwd });
  runApp(name, 'dist/main.js', cwd);
}

/** Jest before Node 24.9 cannot require an ES module: the package has a CommonJS form for it. */
function checkJest(name, tarball) {
  const cwd = copyOf(name);
  run(
    `${name}: install with pnpm`,
    'npm',
    ['exec', '--yes', '--package=pnpm@10', '--', 'pnpm', 'add', tarball],
    { cwd },
  );
  const node22 = nodeOf(22);
  for (const node of [process.execPath, node22]) {
    const output = run(`${name}: jest`, node, ['node_modules/jest/bin/jest.js'], { cwd });
    console.log(/^Tests: .*$/m.exec(output)?.[0]);
  }
}

function checkBundles(name, tarball) {
  const cwd = copyOf(name);
  run(`${name}: install`, 'npm', ['install', '--no-audit', '--no-fund', tarball], { cwd });
  run(`${name}: type-check and compile`, bin(cwd, 'tsc'), [], { cwd });
  run(`${name}: bundle`, process.execPath, ['bundle.mjs'], { cwd });
  for (const bundle of ['esbuild', 'webpack']) runApp(name, `dist/${bundle}.mjs`, cwd);
}

/** The same tests under each test framework. */
function checkTesting(tarball) {
  const jest = 'node_modules/jest/bin/jest.js';
  const commands = {
    'testing-jest-cjs': [jest],
    'testing-jest-esm': ['--experimental-vm-modules', jest],
    'testing-vitest': ['node_modules/vitest/vitest.mjs', 'run'],
    'testing-node': ['--test', 'dist/shop.spec.js'],
  };
  for (const [name, command] of Object.entries(commands)) {
    const cwd = copyOf(name);
    cpSync(join(templates, 'testing'), cwd, { recursive: true });
    run(`${name}: install`, 'npm', ['install', '--no-audit', '--no-fund', tarball], { cwd });
    run(`${name}: type-check and compile`, bin(cwd, 'tsc'), [], { cwd });
    const output = run(`${name}: tests`, process.execPath, command, { cwd, timeoutMs: appTimeoutMs });
    if (!/\b3 passed|# pass 3/.test(output)) throw new Error(`${name}: not three tests\n${output}`);
  }
}

function runApp(name, file, cwd) {
  const output = run(`${name}: run ${file}`, process.execPath, [file], { cwd, timeoutMs: appTimeoutMs });
  const expected = `${name}: sum = 3`;
  if (!output.split('\n').includes(expected)) {
    throw new Error(`${name}: run did not print "${expected}" but\n${output}`);
  }
  console.log(expected);
}

function copyOf(name) {
  const cwd = join(temp, name);
  cpSync(join(templates, name), cwd, { recursive: true });
  return cwd;
}

/** A Node of another major version: the npm package `node` brings it. */
function nodeOf(major) {
  const cwd = join(temp, `node${major}`);
  mkdirSync(cwd);
  writeFileSync(join(cwd, 'package.json'), '{ "private": true }');
  run(`node ${major}: install`, 'npm', ['install', '--no-audit', '--no-fund', `node@${major}`], { cwd });
  return bin(cwd, 'node');
}

function lintPackage(tarball) {
  run('package: publint', bin(root, 'publint'), ['run', tarball, '--strict'], { cwd: root });
  run('package: attw', bin(root, 'attw'), [tarball, '--profile', 'strict'], { cwd: root });
}

function bin(folder, command) {
  return join(folder, 'node_modules', '.bin', command);
}

/** Runs one step and returns what it printed. Throws with that output when the step fails or takes too long. */
function run(step, command, args, { cwd, timeoutMs = stepTimeoutMs }) {
  const { status, signal, error, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  // with CI set, some tools write colours to a pipe, too
  const output = stripVTControlCharacters(`${stdout ?? ''}${stderr ?? ''}`);
  if (status !== 0) {
    const reason =
      error?.code === 'ETIMEDOUT'
        ? `no end after ${timeoutMs} ms`
        : (error?.message ?? signal ?? `exit code ${status}`);
    throw new Error(`${step} failed (${reason})\n${output}`);
  }
  console.log(`${step}: ok`);
  return output;
}
