import { availableParallelism } from 'node:os';
import { CallCancelledError } from '../errors/errors.js';
import { hideIndices, prepareForThread, showIndices } from './transferables.mjs';
import { WorkerTurns } from './worker-turns.js';
import { revive, type WorkerAnswer, type WorkerTask } from './worker-task.js';
import { WorkerThreads } from './worker-threads.js';

/** Options of the threads of `@RunInWorker`. */
export interface WorkerOptions {
  /** Maximum number of threads. Default: one less than the machine has cores, which leaves one for the event loop; at least 1. */
  maxThreads?: number | undefined;
  /** Time after which an idle thread ends, in milliseconds. Default 30,000. */
  idleTimeoutMs?: number | undefined;
  /** Calls that may wait for a thread; further ones fail with `TooManyRequestsError`. Default 1024. */
  maxQueue?: number | undefined;
  /** Maximum heap of a thread in MiB, at least 4; a thread that needs more ends, and its call fails. Default: that of Node. */
  maxHeapMb?: number | undefined;
}

const DEFAULT_IDLE_TIMEOUT_MS = 30_000;
/** With less than 3 MiB for a thread, Node 26 ends the whole process. */
const MINIMUM: Partial<Record<keyof WorkerOptions, number>> = { maxThreads: 1, maxHeapMb: 4 };
const DEFAULT_MAX_QUEUE = 1024;
const OPTION_NAMES: ReadonlySet<string> = new Set<keyof WorkerOptions>([
  'maxThreads',
  'idleTimeoutMs',
  'maxQueue',
  'maxHeapMb',
]);

/** The threads of the process. */
class WorkerPool {
  readonly #turns: WorkerTurns;
  #threads: Promise<WorkerThreads> | undefined;

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
    /** The error of the function itself. */
    let thrown: unknown;
    try {
      const threads = await this.#opened();
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
      (open) => open.close(),
      () => {},
    );
  }

  /** Opens threads, again if those before could not start. */
  async #opened(): Promise<WorkerThreads> {
    const opening = (this.#threads ??= this.#open());
    const threads = await opening;
    if (!threads.haveFailed) return threads;
    if (this.#threads === opening) this.#threads = undefined;
    return this.#opened();
  }

  #open(): Promise<WorkerThreads> {
    const {
      maxThreads = defaultThreads(),
      idleTimeoutMs = DEFAULT_IDLE_TIMEOUT_MS,
      maxHeapMb,
    } = this.options;
    return WorkerThreads.open({ maxThreads, idleTimeoutMs, maxHeapMb });
  }
}

let pool = new WorkerPool({});
let servers = 0;

/**
 * Sets the options of the threads of `@RunInWorker`, which all handlers of the process share. Call it before the first of
 * them runs.
 *
 * @throws RangeError for an option that does not exist or is out of range; Error if threads run already
 */
export function configureWorkers(options: WorkerOptions): void {
  for (const [name, value] of Object.entries(options) as [string, unknown][]) {
    if (!OPTION_NAMES.has(name)) throw new RangeError(`configureWorkers: unknown option "${name}"`);
    const minimum = MINIMUM[name as keyof WorkerOptions] ?? 0;
    const isWhole = Number.isInteger(value) || (name === 'idleTimeoutMs' && value === Infinity);
    if (value !== undefined && !(isWhole && (value as number) >= minimum)) {
      throw new RangeError(
        `configureWorkers: ${name} must be an integer of at least ${minimum}, got ${JSON.stringify(value)}`,
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

/**
 * A DataCloneError does not name the function, nor whether its arguments or its result failed; in a thread whose result
 * cannot be cloned, its message gets lost.
 */
function explained({ name }: WorkerTask, error: unknown): unknown {
  const { name: kind, message } = (error ?? {}) as { name?: unknown; message?: unknown };
  const says = typeof message === 'string' && message !== ''; // Node 24 gives an Error without a message
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
