import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Logger } from '@nestjs/common';
import { CallCancelledError } from './errors.js';
import { hideIndices, prepareForThread, showIndices } from './transferables.mjs';
import { WorkerTurns } from './worker-turns.js';
import { revive, type WorkerAnswer, type WorkerTask } from './worker-task.js';

/** How the threads of `@RunInWorker` are kept. */
export interface WorkerOptions {
  /** Threads at most. Default: one less than the machine has cores, so that one is left for the event loop; at least 1. */
  maxThreads?: number | undefined;
  /** Time after which an idle thread ends, in milliseconds. Default 30,000. */
  idleTimeoutMs?: number | undefined;
  /** Calls that may wait for a thread; beyond, `TooManyRequestsError`. Default 1024. */
  maxQueue?: number | undefined;
  /** Largest heap of a thread, in MiB; one that needs more ends, and its call fails. Default: Node's own. */
  maxHeapMb?: number | undefined;
}

const DEFAULT_IDLE_TIMEOUT_MS = 30_000;
const DEFAULT_MAX_QUEUE = 1024;
const OPTION_NAMES: ReadonlySet<string> = new Set<keyof WorkerOptions>([
  'maxThreads',
  'idleTimeoutMs',
  'maxQueue',
  'maxHeapMb',
]);

/** What this file uses of a Piscina: its types are not there for whoever has not installed it. */
interface Threads {
  run(task: WorkerTask, options: { transferList: ArrayBuffer[]; signal?: AbortSignal }): Promise<unknown>;
  on(event: 'error', listener: (error: unknown) => void): unknown;
  destroy(): Promise<void>;
}

/** The threads of the process. */
class WorkerPool {
  readonly #turns: WorkerTurns;
  #threads: Promise<Threads> | undefined;

  constructor(private readonly options: WorkerOptions) {
    const { maxThreads = defaultThreads(), maxQueue = DEFAULT_MAX_QUEUE } = options;
    this.#turns = new WorkerTurns(maxThreads, maxQueue);
  }

  get isIdle(): boolean {
    return this.#turns.isIdle;
  }

  get isOpen(): boolean {
    return this.#threads !== undefined;
  }

  async run(task: WorkerTask, signal: AbortSignal | undefined): Promise<unknown> {
    if (isAborted(signal)) throw cancelled(task, signal);
    await this.#turns.take(signal);
    /** What the function itself has thrown. */
    let thrown: unknown;
    try {
      const threads = await (this.#threads ??= this.#open());
      const moved = new Set<ArrayBuffer>();
      const args = task.transfer ? task.args.map((arg) => prepareForThread(arg, moved)) : task.args;
      const options = { transferList: [...moved], ...(signal && { signal }) };
      const { value, token } = hideIndices(args);
      const answer = (await threads.run(
        { ...task, args: value as unknown[], token },
        options,
      )) as WorkerAnswer;
      if ('error' in answer) throw (thrown = revive(answer.error));
      return answer.token === undefined ? answer.value : showIndices(answer.value, answer.token);
    } catch (error) {
      if (isAborted(signal)) throw cancelled(task, signal);
      throw error === thrown ? error : explained(task, error);
    } finally {
      this.#turns.giveBack();
    }
  }

  async close(): Promise<void> {
    const threads = this.#threads;
    this.#threads = undefined;
    await threads?.then(
      (open) => open.destroy(),
      () => {},
    );
  }

  async #open(): Promise<Threads> {
    const { maxThreads = defaultThreads(), idleTimeoutMs, maxHeapMb } = this.options;
    const { Piscina } = await importPiscina();
    const threads: Threads = new Piscina({
      filename: fileURLToPath(new URL('./worker-thread.mjs', import.meta.url)),
      minThreads: 0,
      maxThreads,
      idleTimeout: idleTimeoutMs ?? DEFAULT_IDLE_TIMEOUT_MS,
      ...(maxHeapMb !== undefined && { resourceLimits: { maxOldGenerationSizeMb: maxHeapMb } }),
    });
    // a thread that fails while it has nothing to do
    threads.on('error', (error) => new Logger('RunInWorker').error(error));
    return threads;
  }
}

let pool = new WorkerPool({});
let servers = 0;

/**
 * Sets how many threads `@RunInWorker` uses, and how. They are shared by all handlers of the process. Call it before
 * the first of them runs.
 *
 * @throws RangeError for an option that is no option, or out of range; Error where threads run already
 */
export function configureWorkers(options: WorkerOptions): void {
  for (const [name, value] of Object.entries(options) as [string, unknown][]) {
    if (!OPTION_NAMES.has(name)) throw new RangeError(`configureWorkers: unknown option "${name}"`);
    const least = name === 'maxThreads' || name === 'maxHeapMb' ? 1 : 0;
    const isWhole = Number.isInteger(value) || (name === 'idleTimeoutMs' && value === Infinity);
    if (value !== undefined && !(isWhole && (value as number) >= least)) {
      throw new RangeError(
        `configureWorkers: ${name} must be an integer of at least ${least}, got ${JSON.stringify(value)}`,
      );
    }
  }
  if (pool.isOpen || !pool.isIdle) {
    throw new Error('configureWorkers: call it before the first @RunInWorker handler runs');
  }
  pool = new WorkerPool(options);
}

/** Runs a function in a thread of the process. */
export function runInThread(task: WorkerTask, signal: AbortSignal | undefined): Promise<unknown> {
  return pool.run(task, signal);
}

/** A server has started. */
export function retainWorkers(): void {
  servers += 1;
}

/** A server has stopped: with the last one, the threads end. */
export async function releaseWorkers(): Promise<void> {
  servers -= 1;
  if (servers === 0 && pool.isIdle) await pool.close();
}

function defaultThreads(): number {
  return Math.max(1, availableParallelism() - 1);
}

async function importPiscina(): Promise<{ Piscina: new (options: object) => Threads }> {
  try {
    return await import('piscina');
  } catch (error) {
    throw new Error('@RunInWorker needs the package piscina: npm install piscina', { cause: error });
  }
}

/**
 * What structured cloning says names neither the function nor the way; where a thread fails with it, because its result
 * cannot leave, nothing of that arrives here.
 */
function explained({ name }: WorkerTask, error: unknown): unknown {
  const { name: kind, message } = (error ?? {}) as { name?: unknown; message?: unknown };
  const says = typeof message === 'string' && message !== ''; // Node 24 gives an Error without a word
  if (kind !== 'DataCloneError' && says) return error;
  const why = says ? message : 'what the thread gave back has no form';
  return new TypeError(`arguments and result of ${name}() must be plain data: ${why}`, { cause: error });
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

function cancelled({ name }: WorkerTask, signal: AbortSignal | undefined): CallCancelledError {
  return new CallCancelledError(`${name} was cancelled`, { cause: signal?.reason });
}
