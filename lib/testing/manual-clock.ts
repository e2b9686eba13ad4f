import type { Clock, Timer } from '../protocol/clock.js';
import { PROCESS_CONTEXT } from '../rpc/context/async-context.js';
import { systemClock } from '../rpc/time/system-clock.js';

interface Waiting {
  readonly at: number;
  readonly callback: () => void;
  /** The timer of the machine that takes over when time runs again. */
  real?: Timer;
}

/** As of Node's timers: one that sets itself again and again lets time pass. */
const SHORTEST_MS = 1;

/** A clock that stands still until it is advanced, or until time runs again. */
export class ManualClock implements Clock {
  readonly #waiting = new Set<Waiting>();
  /** A whole number: sums of whole times are exact then, and no timer is late by a part of a millionth. */
  #now = Math.ceil(systemClock.now());
  /** What this clock is ahead of that of the machine, once it runs. */
  #aheadMs: number | undefined;

  now(): number {
    return this.#aheadMs === undefined ? this.#now : systemClock.now() + this.#aheadMs;
  }

  after(ms: number, callback: () => void): Timer {
    if (this.#aheadMs !== undefined) return systemClock.after(ms, callback);
    const waiting: Waiting = { at: this.#now + Math.max(ms, SHORTEST_MS), callback };
    this.#waiting.add(waiting);
    return {
      cancel: () => {
        this.#waiting.delete(waiting);
        waiting.real?.cancel();
      },
      hold: (isAwaited) => waiting.real?.hold(isAwaited),
    };
  }

  /** Goes to the next timer that is due until `end`, and fires it. False: there is none, and it is `end` now. */
  step(end: number): boolean {
    const due = this.#next();
    const isDue = due !== undefined && due.at <= end;
    this.#now = Math.max(this.#now, isDue ? due.at : end);
    if (!isDue) return false;
    this.#waiting.delete(due);
    // as with the clock of the machine: not in the async context of the code that sets it, or moves it on
    PROCESS_CONTEXT.run((callback: () => void) => callback(), undefined, due.callback);
    return true;
  }

  /** Lets time run, from where it is. */
  resume(): void {
    if (this.#aheadMs !== undefined) return;
    this.#aheadMs = this.#now - systemClock.now();
    for (const waiting of this.#waiting)
      waiting.real = systemClock.after(Math.max(0, waiting.at - this.#now), waiting.callback);
    this.#waiting.clear();
  }

  #next(): Waiting | undefined {
    let next: Waiting | undefined;
    for (const waiting of this.#waiting) if (!next || waiting.at < next.at) next = waiting;
    return next;
  }
}
