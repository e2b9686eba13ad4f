import 'reflect-metadata';
import { spawn } from 'node:child_process';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { configureWorkers, InvokeError, inWorker, RunInWorker } from '../../../lib/index.js';
import { rejection, testScope, within } from '../../helpers/async.js';
import { compile, type Compiled } from '../../helpers/compiled.js';

const scope = testScope();
const heavy = new URL('../../fixtures/heavy.mjs', import.meta.url);

@Controller()
class WorkerController {
  @MessagePattern('fib') @RunInWorker(heavy, 'fib') fib(): Promise<number> {
    return inWorker();
  }
}

const bundled = (why: string): string =>
  `@RunInWorker cannot start threads, since the package is bundled (${why}); ` +
  'keep nestjs-rap external (esbuild: --external:nestjs-rap, webpack: externals)';

describe('a worker thread that cannot start', () => {
  it('fails the calls that wait for it, with the reason, and is tried again with the next', async () => {
    configureWorkers({ maxThreads: 1, maxHeapMb: 4 });
    scope.defer(() => configureWorkers({}));
    const { client, log, close } = await scope.serve([WorkerController], { exposeErrors: true });
    const rap = client();
    const call = (): Promise<Error> => rejection(rap.call('fib', { n: 1 }));

    const errors = [...(await Promise.all([1, 2, 3, 4].map(call))), await call()];

    const why =
      'a worker thread cannot start: Worker terminated due to reaching memory limit: JS heap out of memory';
    for (const error of errors) {
      expect(error).toBeInstanceOf(InvokeError);
      expect(error.message).toBe(why);
    }
    // one line for each call, none beside
    expect(log.lines.filter((line) => line.includes('memory limit'))).toHaveLength(errors.length);
    await close();
  });
});

describe('in a process of its own', () => {
  const source = 'test/nest/workers/fixtures/worker-app.ts';
  let compiled: Compiled;
  /** The application, with the fixture that it runs in threads. */
  beforeEach(async () => {
    compiled = await compile([source, 'test/fixtures/heavy.mjs']);
  }, 30_000);
  afterEach(() => compiled.remove());

  async function preload(name: string, code: string): Promise<string> {
    const path = join(dirname(compiled.path(source)), name);
    await writeFile(
      path,
      `import { isMainThread } from 'node:worker_threads';\nif (!isMainThread) { ${code} }\n`,
    );
    return path;
  }

  /** What the application wrote. */
  async function run(...execArgv: string[]): Promise<string[]> {
    const child = spawn(process.execPath, [...execArgv, compiled.path(source)], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    scope.defer(() => child.kill('SIGKILL'));
    return (await within('the end', text(child.stdout), 20_000)).trim().split('\n');
  }

  it('runs', async () => {
    expect(await run()).toEqual(['55', '55', '55']);
  }, 30_000);

  it.each([
    ['throws', `throw new Error('not in a thread')`, 'not in a thread'],
    ['exits', 'process.exit(7)', 'it ended before it was ready'],
  ])(
    'a module of --import that %s in threads: all calls fail with the reason',
    async (name, code, why) => {
      const path = await preload(`${name}.mjs`, code);
      const line = `a worker thread cannot start: ${why}`;
      expect(await run('--import', path)).toEqual([line, line, line]);
    },
    30_000,
  );

  it('a bundle of ES modules, which has no file for the thread beside it, is named as such', async () => {
    const file = compiled.path('lib/nest/workers/worker-thread.mjs');
    await rm(file);
    const lines = await run();
    expect(lines).toHaveLength(3);
    for (const line of lines) {
      const why = /\((Cannot find .*)\);/.exec(line)?.[1] ?? '';
      expect(why).toContain(file);
      expect(line).toBe(bundled(why));
    }
  }, 30_000);

  it('a bundle in CommonJS, whose modules have no URL, is named as such', async () => {
    const folder = dirname(compiled.path('lib/nest/workers/worker-thread.mjs'));
    for (const name of (await readdir(folder)).filter((each) => each.startsWith('worker-'))) {
      const code = await readFile(join(folder, name), 'utf8');
      await writeFile(join(folder, name), code.replaceAll('import.meta.url', '({}).url')); // as esbuild does
    }
    const line = bundled('its modules have no URL');
    expect(await run()).toEqual([line, line, line]);
  }, 30_000);
});
