import { TooManyRequestsError } from '../errors/errors.js';
import { onAbort } from '../../rpc/context/listeners.js';

/**
 * Turns to use a thread, first come, first served. Calls wait here, not in piscina: there, a thread that was stopped is
 * replaced only when the next call comes, and calls that wait already would go on waiting.
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
   * Waits for a turn, which must be given back. An aborted signal ends the wait at once, also with a turn: the caller must
   * check the signal.
   *
   * @throws TooManyRequestsError if too many calls wait
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
        unlisten?.();
        this.#taken += 1;
        resolve();
      };
      this.#waiting.add(next);
      const unlisten = signal && onAbort(signal, next);
    });
  }

  giveBack(): void {
    this.#taken -= 1;
    if (this.#taken >= this.maxTaken) return; // cancelled calls have taken more turns than there are threads
    const [next] = this.#waiting;
    next?.();
  }
}
