import type { Clock, Timer } from '../../protocol/clock.js';
import { timers } from './system-clock.js';

/** A lane that is empty keeps its timer for the next entry; with so many lanes, it goes instead. */
const MANY_LANES = 64;

/** A sweep is late, and not only as timers are, from here on. */
const LATE_MS = 1;

/** Something that ends by itself at a time. Extend it, and the queue needs no object of its own per entry. */
export abstract class Expiring {
  /** @internal */ expiresAt = 0;
  /** @internal */ lane: Lane | undefined;
  /** @internal */ before: Expiring | undefined;
  /** @internal */ behind: Expiring | undefined;

  /** Called once when the time is over. */
  abstract expire(): void;
}

/** Does something when a time is over. */
export class TimeLimit extends Expiring {
  constructor(override readonly expire: () => void) {
    super();
  }
}

/**
 * Timeouts of many calls with one timer for each duration: entries of a duration expire in the order in which they
 * came, so adding and removing one costs a few pointers and no timer.
 */
export class DeadlineQueue {
  readonly #lanes = new Map<number, Lane>();

  constructor(private readonly clock: Clock) {}

  /**
   * Lets `entry` expire `time` milliseconds after `since`, unless it is removed before. An entry is in one queue at most
   * once. Whoever has just read the clock hands its time on: a read costs as much as the rest.
   */
  add(entry: Expiring, time: number, since = this.clock.now()): void {
    const ms = Math.ceil(time); // parts of a millisecond would make a lane each
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

  /** Time until `entry` expires; `undefined` where it is in no queue. */
  timeLeftMs(entry: Expiring): number | undefined {
    return entry.lane && Math.max(0, entry.expiresAt - this.clock.now());
  }

  /** Takes an entry out; nothing happens where it has expired or was never added. */
  remove(entry: Expiring): void {
    entry.lane?.unlink(entry);
  }
}

/** Entries of one duration, oldest first. */
class Lane {
  #first: Expiring | undefined;
  #last: Expiring | undefined;
  #timer: Timer | undefined;
  /** A sweep goes on, or waits for a look at the sockets; then it makes the next timer. */
  #isSweeping = false;
  /** The oldest entry at the last look that came late, and until when those that follow wait for what they find. */
  #late: { readonly first: Expiring; readonly until: number } | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly ms: number,
    private readonly owner: { onEmpty(): void; isCrowded(): boolean },
  ) {}

  push(entry: Expiring, since: number): void {
    entry.lane = this;
    entry.expiresAt = since + this.ms;
    entry.before = this.#last;
    if (this.#last) this.#last.behind = entry;
    else this.#first = entry;
    this.#last = entry;
    if (!this.#isSweeping) this.#timer ??= this.clock.after(this.ms, this.#sweep);
  }

  unlink(entry: Expiring): void {
    if (entry.before) entry.before.behind = entry.behind;
    else this.#first = entry.behind;
    if (entry.behind) entry.behind.before = entry.before;
    else this.#last = entry.before;
    entry.lane = entry.before = entry.behind = undefined;
    if (this.#first || !this.#timer || !this.owner.isCrowded()) return;
    this.#timer.cancel();
    this.#timer = undefined;
    this.owner.onEmpty();
  }

  /** Expires what is due. The timer then waits for the oldest of the rest; an empty lane goes. */
  readonly #sweep = (): void => {
    this.#timer = undefined;
    this.#isSweeping = true;
    const now = this.clock.now();
    if (this.#mayFind(now)) {
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
   * Whether what entries wait for may lie in a socket: the sweep comes late, since the process stood still. Then it looks again after
   * the sockets, and as long as that goes on to settle entries; but not for longer than the process stood still.
   */
  #mayFind(now: number): boolean {
    const first = this.#first;
    const before = this.#late;
    this.#late = undefined;
    if (!first || now - first.expiresAt < LATE_MS) return false;
    if (before && (before.first === first || now >= before.until)) return false;
    this.#late = before ? { first, until: before.until } : { first, until: 2 * now - first.expiresAt };
    return true;
  }
}
