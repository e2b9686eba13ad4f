import { TooManyRequestsError } from '../errors/errors.js';

/**
 * Who may use a thread now, first come, first served. Calls wait here, not in piscina: there, a thread that was stopped is
 * replaced only when the next call comes, and those that wait already would go on waiting.
 */
export class WorkerTurns {
  #taken = 0;
  readonly #waiting = new Set<() => void>();

  constructor(
    private readonly maxTaken: number,
    private readonly maxWaiting: number,
  ) {}

  get isIdle(): boolean {
    return this.#taken === 0 && this.#waiting.size === 0;
  }

  /**
   * Waits for a turn, which has to be given back. An aborted signal ends the wait at once, with a turn that is over for
   * whoever looks at the signal.
   *
   * @throws TooManyRequestsError where too many wait
   */
  async take(signal: AbortSignal | undefined): Promise<void> {
    if (this.#taken < this.maxTaken) {
      this.#taken += 1;
      return;
    }
    if (this.#waiting.size >= this.maxWaiting) {
      throw new TooManyRequestsError(`${this.maxWaiting} calls wait for a worker thread`);
    }
    await new Promise<void>((resolve) => {
      const next = (): void => {
        this.#waiting.delete(next);
        signal?.removeEventListener('abort', next);
        this.#taken += 1;
        resolve();
      };
      this.#waiting.add(next);
      signal?.addEventListener('abort', next, { once: true });
    });
  }

  giveBack(): void {
    this.#taken -= 1;
    if (this.#taken >= this.maxTaken) return; // there were more than threads: calls that were cancelled while they waited
    const [next] = this.#waiting;
    next?.();
  }
}
