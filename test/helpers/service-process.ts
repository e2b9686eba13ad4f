import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { eventually } from './async.js';

/**
 * `describe` for tests that need the service of a program: without it they are skipped with a line, or fail if services are
 * required.
 *
 * @param asks arguments with which it ends at once, successfully
 */
export function describeWith(
  program: string,
  ...asks: readonly string[]
): (name: string, tests: () => void) => void {
  const isInstalled = spawnSync(program, asks).status === 0;
  if (isInstalled || process.env['RAP_TEST_SERVICES'] === 'required') return describe;
  return (name) => {
    it(`${name}: left out, there is no ${program} on the PATH`, () => {});
  };
}

/** The process of a service that a test starts, ends and stops from answering. */
export class ServiceProcess {
  protected process: ChildProcess | undefined;

  /** Kills it, as a crash would. */
  async down(): Promise<void> {
    const child = this.process;
    this.process = undefined;
    if (!child) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  /** Stops it from answering, while its connections stay open. Resolves as soon as none of its threads runs. */
  async freeze(): Promise<void> {
    this.process?.kill('SIGSTOP');
    const threads = `/proc/${this.process?.pid}/task`;
    const isStopped = (thread: string): boolean =>
      readFileSync(`${threads}/${thread}/status`, 'utf8').includes('\nState:\tT');
    await eventually('it is stopped', () => readdirSync(threads).every(isStopped));
  }

  thaw(): void {
    this.process?.kill('SIGCONT');
  }
}
