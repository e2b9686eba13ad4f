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
  /** The pause has lasted for that time without progress: ends it, or makes progress. */
  readonly overdue: () => void;
}

/**
 * A time in which a connection is not read, because what came is more than its readers have taken. It has an end: meanwhile
 * nobody can tell a peer that waits from one that is gone.
 */
export class ReadingPause {
  readonly #limit: TimeLimit;

  constructor(private readonly options: ReadingPauseOptions) {
    options.link.pause();
    this.#limit = new TimeLimit(() => {
      // it starts over, unless it ends now
      this.progress();
      options.overdue();
    });
    this.progress();
  }

  /** Something was read: the time starts over. */
  progress(): void {
    const { deadlines, timeoutMs } = this.options;
    deadlines.remove(this.#limit);
    deadlines.add(this.#limit, timeoutMs);
  }

  /** The connection is read on. Called once. */
  end(): void {
    this.options.deadlines.remove(this.#limit);
    this.options.link.resume();
  }
}
