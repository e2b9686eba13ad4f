import { type DeadlineQueue, TimeLimit } from './time/deadline-queue.js';

/** A connection whose reading can be paused; it resumes after as many `resume` as `pause` calls. */
export interface Readable {
  pause(): void;
  resume(): void;
}

export interface ReadingPauseOptions {
  readonly link: Readable;
  readonly deadlines: DeadlineQueue;
  readonly timeoutMs: number;
  /** No progress for `timeoutMs`: end the pause, or make progress. */
  readonly onTimeout: () => void;
}

/**
 * Pauses the reading of a connection whose readers are behind. Limited in time: meanwhile a waiting peer cannot be told
 * from one that is disconnected.
 */
export class ReadingPause {
  readonly #limit: TimeLimit;

  constructor(private readonly options: ReadingPauseOptions) {
    options.link.pause();
    this.#limit = new TimeLimit(() => {
      // restarts the timeout, unless the pause ends now
      this.progress();
      options.onTimeout();
    });
    this.progress();
  }

  /** Something was read: restarts the timeout. */
  progress(): void {
    const { deadlines, timeoutMs } = this.options;
    deadlines.remove(this.#limit);
    deadlines.add(this.#limit, timeoutMs);
  }

  /** Resumes reading. Call once. */
  end(): void {
    this.options.deadlines.remove(this.#limit);
    this.options.link.resume();
  }
}
