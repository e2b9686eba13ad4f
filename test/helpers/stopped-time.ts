import { systemClock } from '../../lib/rpc/time/system-clock.js';
import type { Timer } from '../../lib/protocol/clock.js';

interface Waiting {
  readonly at: number;
  readonly callback: () => void;
  /** The timer that takes over when time runs again. */
  real?: Timer;
}

/**
 * The product's clock in the hands of a test: it stands still until {@link pass}, for servers and clients with real
 * sockets too. Nothing falls due because a machine is slow, and nothing is waited for. Deadlines that are given as
 * moments of the wall clock are not stopped; what they leave is counted on this clock.
 *
 * Stop time before what it is to hold is made: a timer that runs already goes on.
 */
export class StoppedTime {
  readonly #real = { ...systemClock };
  readonly #waiting = new Set<Waiting>();
  /** A whole number from the start: sums of whole times are exact then, and no timer is late by part of a millionth. */
  #now = Math.ceil(systemClock.now());
  #stopped = true;

  constructor() {
    systemClock.now = () => this.#now;
    systemClock.after = (ms, callback) => this.#after(ms, callback);
  }

  /** Milliseconds to the next timer; `undefined` if none waits. */
  get nextMs(): number | undefined {
    const next = this.#next();
    return next && next.at - this.#now;
  }

  /** Moves on by so much, and fires what falls due, in its order. */
  pass(ms: number): void {
    const end = this.#now + ms;
    for (let due = this.#next(); due && due.at <= end; due = this.#next()) {
      this.#waiting.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.callback();
    }
    this.#now = end;
  }

  /** Moves on by so much while nothing runs, as if the process were stopped: what falls due is late, and fires with `pass`. */
  freeze(ms: number): void {
    this.#now += ms;
  }

  /** Lets time run again, from where it is. Does nothing the second time. */
  resume(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    const real = this.#real;
    const ahead = Math.max(0, this.#now - real.now());
    Object.assign(systemClock, real, { now: () => real.now() + ahead });
    for (const waiting of this.#waiting) {
      waiting.real = real.after(Math.max(0, waiting.at - this.#now), waiting.callback);
    }
    this.#waiting.clear();
  }

  #after(ms: number, callback: () => void): Timer {
    const waiting: Waiting = { at: this.#now + ms, callback };
    this.#waiting.add(waiting);
    return {
      cancel: () => {
        this.#waiting.delete(waiting);
        waiting.real?.cancel();
      },
      hold: (isAwaited) => waiting.real?.hold(isAwaited),
    };
  }

  #next(): Waiting | undefined {
    let next: Waiting | undefined;
    for (const waiting of this.#waiting) if (!next || waiting.at < next.at) next = waiting;
    return next;
  }
}
