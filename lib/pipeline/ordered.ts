/** Runs jobs one after the other, in the order in which they came; at once if nothing is under way. A job never fails. */
export class Ordered {
  readonly #waiting: (() => void | Promise<void>)[] = [];
  #busy = false;
  #stopped = false;

  /** `onIdle` is called when the last job is done, unless it was done at once. */
  constructor(private readonly onIdle: () => void) {}

  /** Whether a job runs, or waits. */
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

  /** Drops what waits; what runs is not waited for. */
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
