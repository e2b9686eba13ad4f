import type { Clock, Timer } from '../../protocol/clock.js';
import { timers } from './system-clock.js';

/** An empty lane keeps its timer for the next entry; with this many lanes, it is removed instead. */
const MANY_LANES = 64;

/** A sweep that comes later than this is late for another reason than the inaccuracy of timers. */
const LATE_MS = 1;

/** Something that expires. Extend it, and the queue needs no object of its own for each entry. */
export abstract class Expiring {
  /** @internal */ expiresAt = 0;
  /** @internal */ lane: Lane | undefined;
  /** @internal */ previous: Expiring | undefined;
  /** @internal */ next: Expiring | undefined;

  /** Called once when its time is over. */
  abstract expire(): void;
}

/** Calls back when a time is over. */
export class TimeLimit extends Expiring {
  constructor(override readonly expire: () => void) {
    super();
  }
}

/**
 * Timeouts of many calls with one timer for each duration: entries of a duration expire in the order in which they
 * were added, so adding and removing one costs a few pointers and no timer.
 */
export class DeadlineQueue {
  readonly #lanes = new Map<number, Lane>();

  constructor(readonly clock: Clock) {}

  /**
   * Lets `entry` expire `time` milliseconds after `since`, unless it is removed before. An entry is in at most one queue,
   * and once. A caller that has just read the clock passes its time: a read costs as much as the rest.
   */
  add(entry: Expiring, time: number, since = this.clock.now()): void {
    const ms = Math.ceil(time); // each fraction of a millisecond would need a lane of its own
    let lane = this.#lanes.get(ms);
    if (!lane) {
      lane = new Lane(this.clock, ms, {
        onEmpty: () => this.#lanes.delete(ms),
        isCrowded: () => this.#lanes.size > MANY_LANES,
      });
      this.#lanes.set(ms, lane);
    }
    lane.push(entry, since);
  }

  /** Time until `entry` expires; `undefined` if it is not in a queue. */
  timeLeftMs(entry: Expiring): number | undefined {
    return entry.lane && Math.max(0, entry.expiresAt - this.clock.now());
  }

  /** Removes an entry; does nothing if it has expired or was never added. */
  remove(entry: Expiring): void {
    entry.lane?.unlink(entry);
  }
}

/** Entries of one duration, oldest first. */
class Lane {
  #first: Expiring | undefined;
  #last: Expiring | undefined;
  #timer: Timer | undefined;
  /** A sweep is running, or waits for a poll of the sockets; it sets the next timer at its end. */
  #isSweeping = false;
  /** The oldest entry at the last late check, and until when the entries after it wait for polls of the sockets. */
  #late: { readonly first: Expiring; readonly until: number } | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly ms: number,
    private readonly owner: { onEmpty(): void; isCrowded(): boolean },
  ) {}

  push(entry: Expiring, since: number): void {
    entry.lane = this;
    entry.expiresAt = since + this.ms;
    entry.previous = this.#last;
    if (this.#last) this.#last.next = entry;
    else this.#first = entry;
    this.#last = entry;
    if (!this.#isSweeping) this.#timer ??= this.clock.after(this.ms, this.#sweep);
  }

  unlink(entry: Expiring): void {
    if (entry.previous) entry.previous.next = entry.next;
    else this.#first = entry.next;
    if (entry.next) entry.next.previous = entry.previous;
    else this.#last = entry.previous;
    entry.lane = entry.previous = entry.next = undefined;
    if (this.#first || !this.#timer || !this.owner.isCrowded()) return;
    this.#timer.cancel();
    this.#timer = undefined;
    this.owner.onEmpty();
  }

  /** Expires what is due. The timer then waits for the oldest of the rest; an empty lane is removed. */
  readonly #sweep = (): void => {
    this.#timer = undefined;
    this.#isSweeping = true;
    const now = this.clock.now();
    if (this.#mustPollFirst(now)) {
      timers.setImmediate(this.#sweep);
      return;
    }
    try {
      while (this.#first && this.#first.expiresAt <= now) {
        const due = this.#first;
        this.unlink(due);
        due.expire();
      }
    } finally {
      this.#isSweeping = false;
      if (this.#first) this.#timer = this.clock.after(Math.max(1, this.#first.expiresAt - now), this.#sweep);
      else this.owner.onEmpty();
    }
  };

  /**
   * Whether the answers that entries wait for may still lie in a socket: the sweep is late, since the process was blocked. Then it
   * checks again after a poll of the sockets, as long as that settles entries; but not for longer than the process was blocked.
   */
  #mustPollFirst(now: number): boolean {
    const first = this.#first;
    const late = this.#late;
    this.#late = undefined;
    if (!first || now - first.expiresAt < LATE_MS) return false;
    if (late && (late.first === first || now >= late.until)) return false;
    this.#late = late ? { first, until: late.until } : { first, until: 2 * now - first.expiresAt };
    return true;
  }
}
