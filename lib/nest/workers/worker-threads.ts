import { fileURLToPath } from 'node:url';
import { Logger } from '@nestjs/common';
import { setImmediate } from '../../net/runtime.js';
import { messageOf } from '../errors/shown.js';
import type { WorkerTask } from './worker-task.js';

export interface WorkerThreadsOptions {
  readonly maxThreads: number;
  readonly idleTimeoutMs: number;
  readonly maxHeapMb: number | undefined;
}

export interface ThreadRunOptions {
  readonly transferList: ArrayBuffer[];
  readonly signal?: AbortSignal;
}

/** What this file uses of Piscina, whose types exist only if it is installed. */
interface Piscina {
  readonly threads: readonly unknown[];
  run(task: WorkerTask, options: ThreadRunOptions): Promise<unknown>;
  on(event: 'error', listener: (error: unknown) => void): unknown;
  on(event: 'workerCreate' | 'workerDestroy', listener: () => void): unknown;
  destroy(): Promise<void>;
}

const FILE = 'worker-thread.mjs';

const logger = new Logger('RunInWorker');

/**
 * The threads of piscina. There, a call that waits for a thread which ends before it is ready would wait for ever: when there
 * is no thread any more, such calls fail with the reason, and the threads must be opened again.
 */
export class WorkerThreads {
  #running = 0;
  /** Why the last thread without a call failed. */
  #cause: unknown;
  #failure: Error | undefined;

  /** @throws Error if piscina is not installed, or this package is part of a bundle */
  static async open({ maxThreads, idleTimeoutMs, maxHeapMb }: WorkerThreadsOptions): Promise<WorkerThreads> {
    const { Piscina } = await importPiscina();
    const piscina = new Piscina({
      filename: threadFile(),
      minThreads: 0,
      maxThreads,
      idleTimeout: idleTimeoutMs,
      ...(maxHeapMb !== undefined && { resourceLimits: { maxOldGenerationSizeMb: maxHeapMb } }),
    });
    return new WorkerThreads(piscina);
  }

  private constructor(private readonly piscina: Piscina) {
    piscina.on('workerCreate', () => (this.#cause = undefined)); // it is ready
    // only then is it known which calls the thread has ended
    piscina.on('workerDestroy', () => setImmediate(() => this.#failStuck()));
    // a thread that fails while it is idle, or before it is ready
    piscina.on('error', (error) => {
      this.#cause = error;
      setImmediate(() => {
        if (this.#failure?.cause !== error) logger.error(error); // no call fails with it
      });
    });
  }

  /** No thread could start: this pool cannot be used any more. */
  get haveFailed(): boolean {
    return this.#failure !== undefined;
  }

  async run(task: WorkerTask, options: ThreadRunOptions): Promise<unknown> {
    this.#running += 1;
    try {
      return await this.piscina.run(task, options);
    } catch (error) {
      throw this.#failure ?? error;
    } finally {
      this.#running -= 1;
    }
  }

  async close(): Promise<void> {
    await this.piscina.destroy();
  }

  /** Without a thread, running calls never get one. */
  #failStuck(): void {
    if (this.#running === 0 || this.piscina.threads.length > 0) return;
    const cause = this.#cause;
    const why = cause === undefined ? 'it ended before it was ready' : messageOf(cause);
    this.#failure = isBundled(cause)
      ? bundled(why, cause)
      : new Error(`a worker thread cannot start: ${why}`, { cause });
    void this.piscina.destroy(); // which fails the calls
  }
}

async function importPiscina(): Promise<{ Piscina: new (options: object) => Piscina }> {
  try {
    return await import('piscina');
  } catch (error) {
    throw new Error('@RunInWorker needs the package piscina: npm install piscina', { cause: error });
  }
}

/** The file that threads run, beside this one. */
function threadFile(): string {
  const here: unknown = import.meta.url; // apart from the URL below, which webpack would take for an asset
  if (typeof here !== 'string') throw bundled('its modules have no URL'); // esbuild, in CommonJS
  return fileURLToPath(new URL(FILE, here));
}

/** A bundle does not contain the file. */
function isBundled(cause: unknown): boolean {
  const { code, message } = (cause ?? {}) as { code?: unknown; message?: unknown };
  return code === 'ERR_MODULE_NOT_FOUND' && String(message).includes(FILE);
}

function bundled(why: string, cause?: unknown): Error {
  return new Error(
    `@RunInWorker cannot start threads, since the package is bundled (${why}); ` +
      'keep nestjs-rap external (esbuild: --external:nestjs-rap, webpack: externals)',
    { cause },
  );
}
