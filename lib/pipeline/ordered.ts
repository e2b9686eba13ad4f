/** Runs jobs one at a time, in FIFO order; at once if none is running. Jobs must not fail. */
export class Ordered {
  readonly #waiting: (() => void | Promise<void>)[] = [];
  #busy = false;
  #stopped = false;

  /** `onIdle` is called after the last asynchronous job. */
  constructor(private readonly onIdle: () => void) {}

  /** Whether a job is running or queued. */
  get isBusy(): boolean {
    return this.#busy && !this.#stopped;
  }

  get isStopped(): boolean {
    return this.#stopped;
  }

  run(job: () => void | Promise<void>): void {
    if (this.#stopped) return;
    if (this.#busy) this.#waiting.push(job);
    else {
      const pending = job();
      if (pending) void this.#rest(pending);
    }
  }

  /** Drops queued jobs; a running one is not awaited. */
  stop(): void {
    this.#stopped = true;
    this.#waiting.length = 0;
  }

  async #rest(first: Promise<void>): Promise<void> {
    this.#busy = true;
    await first;
    for (let job = this.#waiting.shift(); job; job = this.#waiting.shift()) await job();
    this.#busy = false;
    if (!this.#stopped) this.onIdle();
  }
}
