import type { RapClient } from '../../lib/index.js';
import { within } from '../helpers/async.js';
import { seededRandom } from '../helpers/seeded-random.js';
import { Operation } from './operation.js';
import { perform } from './perform.js';

const TICK_MS = 5;
/** After a pause of this process, the operations of this time are started at once. */
const MAX_ELAPSED_MS = 50;
/** A machine that is too busy for the rate gets less, instead of calls that pile up. */
const MAX_PENDING = 200;
/** Longer than any call may take, and than the client gives a server that is silent. */
const SETTLE_MS = 30_000;

export interface LoadOptions {
  readonly client: RapClient;
  /** Operations that are started each second, whether or not the others have ended. */
  readonly perSecond: number;
  readonly seed: number;
  /** Id of the first operation; those of several loads must differ. */
  readonly firstId?: number;
}

/** Starts operations of mixed kinds at an even rate, and keeps what became of each. */
export class Load {
  readonly operations: Operation[] = [];
  readonly #pending = new Set<Promise<void>>();
  /** Part of an operation that is due. */
  #owed = 0;
  readonly #startedAt = performance.now();
  #tickedAt = this.#startedAt;
  readonly #random: () => number;
  readonly #timer: NodeJS.Timeout;

  constructor(private readonly options: LoadOptions) {
    this.#random = seededRandom(options.seed);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  get failed(): Operation[] {
    return this.operations.filter(({ hasFailed }) => hasFailed);
  }

  /** Operations started each second so far. */
  get rate(): number {
    return (this.operations.length / (performance.now() - this.#startedAt)) * 1000;
  }

  /** Starts no more, and waits for the others. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    const open = (): string =>
      this.operations
        .filter(({ endedAt }) => endedAt === undefined)
        .map((each) => each.describe(this.#startedAt))
        .join('\n');
    await within('the end of all operations', Promise.all(this.#pending), SETTLE_MS).catch((error: Error) => {
      throw new Error(`${error.message}; open:\n${open()}`);
    });
  }

  #tick(): void {
    const now = performance.now();
    const elapsedMs = Math.min(now - this.#tickedAt, MAX_ELAPSED_MS);
    this.#tickedAt = now;
    const due = (elapsedMs / 1000) * this.options.perSecond + this.#owed;
    const room = MAX_PENDING - this.#pending.size;
    for (let i = 1; i <= Math.min(due, room); i++) this.#start();
    this.#owed = due % 1;
  }

  #start(): void {
    const { firstId = 0, client } = this.options;
    const operation = new Operation(firstId + this.operations.length, this.#random);
    this.operations.push(operation);
    const work = perform(client, operation)
      .catch((error: unknown) => {
        operation.error = error ?? new Error('it failed without an error');
      })
      .then(() => {
        operation.endedAt = performance.now();
        this.#pending.delete(work);
      });
    this.#pending.add(work);
  }
}
