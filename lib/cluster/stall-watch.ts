import type { Clock, Timer } from '../protocol/clock.js';

const BEAT_MS = 500;
/** A beat that is later than this: the process stood still. Shorter stops are covered by the poll of the sockets before timeouts. */
const LATE_MS = 500;

/**
 * Notices that this process stood still, by a timer that runs while it has calls in flight. What was lost or late meanwhile
 * says nothing about the servers: they may have answered, and closed their connections since nobody read.
 */
export class StallWatch {
  #timer: Timer | undefined;
  #dueAt = Infinity;
  /** When the last stop ended. */
  #endedAt = -Infinity;

  /** @param isBusy whether calls are in flight */
  constructor(
    private readonly clock: Clock,
    private readonly isBusy: () => boolean,
  ) {}

  /** A call begins. */
  used(): void {
    if (!this.#timer) this.#wait(this.clock.now());
  }

  /** Whether the process has stood still since then. */
  stoodStillSince(startedAt: number): boolean {
    this.#check(this.clock.now());
    return startedAt <= this.#endedAt;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#dueAt = Infinity;
  }

  /** Sockets may come before the timer that is overdue. */
  #check(now: number): void {
    if (now - this.#dueAt > LATE_MS) this.#endedAt = now;
  }

  #wait(now: number): void {
    this.#dueAt = now + BEAT_MS;
    this.#timer = this.clock.after(BEAT_MS, this.#beat);
  }

  readonly #beat = (): void => {
    const now = this.clock.now();
    this.#check(now);
    this.stop();
    if (this.isBusy()) this.#wait(now);
  };
}
