// Packs the package as npm would publish it and proves that it works for those who install it: in a Nest 12 app
// (ES modules) and in a Nest 11 app (CommonJS). Then publint and attw judge the same tarball.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

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
  const cwd = join(temp, name);
  cpSync(join(templates, name), cwd, { recursive: true });

  run(`${name}: install`, 'npm', ['install', '--no-audit', '--no-fund', tarball], { cwd });
  run(`${name}: type-check and compile`, bin(cwd, 'tsc'), [], { cwd });
  const output = run(`${name}: run`, process.execPath, ['dist/main.js'], { cwd, timeoutMs: appTimeoutMs });

  const expected = `${name}: sum = 3`;
  if (!output.split('\n').includes(expected)) {
    throw new Error(`${name}: run did not print "${expected}" but\n${output}`);
  }
  console.log(output.trim());
}

function lintPackage(tarball) {
  run('package: publint', bin(root, 'publint'), ['run', tarball, '--strict'], { cwd: root });
  // The package is ESM only on purpose, like Nest 12: CommonJS apps load it with require(esm), which is on by default
  // in every Node that `engines` allows. attw reports that as cjs-resolves-to-esm; every other rule stays on, for
  // every module resolution (strict profile), and nest11-cjs above proves what the rule doubts.
  const attwOptions = ['--profile', 'strict', '--ignore-rules', 'cjs-resolves-to-esm'];
  run('package: attw', bin(root, 'attw'), [tarball, ...attwOptions], { cwd: root });
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
  const output = `${stdout ?? ''}${stderr ?? ''}`;
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
