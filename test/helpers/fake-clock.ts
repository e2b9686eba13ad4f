import type { Clock, Timer } from '../../lib/protocol/clock.js';

/** A clock that only moves when it is told to. */
export class FakeClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ at: number; callback: () => void; held: boolean }>();

  now(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): Timer {
    const timer = { at: this.#now + ms, callback, held: false };
    this.#timers.add(timer);
    return {
      cancel: () => this.#timers.delete(timer),
      hold: (isAwaited) => (timer.held = isAwaited),
    };
  }

  /** Timers that keep the process alive. */
  get held(): number {
    return [...this.#timers].filter(({ held }) => held).length;
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /** The process stands still, and has not yet come to its timers: the next `advance` fires what fell due. */
  freeze(ms: number): void {
    this.#now += ms;
  }

  /** The process stands still: time passes, and what fell due meanwhile fires only now. */
  stall(ms: number): void {
    this.#now += ms;
    const late = [...this.#timers].filter(({ at }) => at <= this.#now).toSorted((a, b) => a.at - b.at);
    for (const timer of late) if (this.#timers.delete(timer)) timer.callback();
  }

  /** Moves on, and fires what is due, in its order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.callback();
    }
    this.#now = end;
  }
}
