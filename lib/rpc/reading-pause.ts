import { type DeadlineQueue, TimeLimit } from './time/deadline-queue.js';

/** A connection whose reading can be stopped; it goes on when each `pause` has had its `resume`. */
export interface Readable {
  pause(): void;
  resume(): void;
}

export interface ReadingPauseOptions {
  readonly link: Readable;
  readonly deadlines: DeadlineQueue;
  readonly timeoutMs: number;
  /** The pause has lasted that long without progress: end it, or make progress. */
  readonly overdue: () => void;
}

/**
 * A time in which a connection is not read, because its readers have not taken what was received. It is limited: meanwhile a
 * peer that waits cannot be told from one that is disconnected.
 */
export class ReadingPause {
  readonly #limit: TimeLimit;

  constructor(private readonly options: ReadingPauseOptions) {
    options.link.pause();
    this.#limit = new TimeLimit(() => {
      // the time starts again, unless the pause ends now
      this.progress();
      options.overdue();
    });
    this.progress();
  }

  /** Something was read: the time starts again. */
  progress(): void {
    const { deadlines, timeoutMs } = this.options;
    deadlines.remove(this.#limit);
    deadlines.add(this.#limit, timeoutMs);
  }

  /** The connection is read again. Called once. */
  end(): void {
    this.options.deadlines.remove(this.#limit);
    this.options.link.resume();
  }
}
