import type { Clock, Timer } from '../../../lib/protocol/clock.js';

/** What happens at a moment. The argument is the handler's own. */
export interface EventHandler {
  onEvent(argument: number): void;
}

const NOTHING: EventHandler = { onEvent: () => undefined };
/** Children of a node of the heap: four keep it flat. */
const FAN_OUT = 4;

/**
 * A clock whose time passes only as its events are run, in the order of their times, and of their creation among those of
 * one time. Times are whole microseconds, so that no rounding can change that order.
 */
export class VirtualTime implements Clock {
  nowUs = 0;
  /** Events that were run. */
  events = 0;
  #created = 0;
  #size = 0;
  // the heap: time, order of creation and slot of each event
  #times = new Float64Array(1_024);
  #orders = new Float64Array(1_024);
  #slots = new Int32Array(1_024);
  // what is to happen, by slot
  readonly #handlers: EventHandler[] = [];
  readonly #arguments: number[] = [];
  readonly #free: number[] = [];

  /** Events that wait. */
  get pending(): number {
    return this.#size;
  }

  /** Milliseconds, as the classes of the package want them. */
  now(): number {
    return this.nowUs / 1_000;
  }

  after(ms: number, callback: () => void): Timer {
    const timer = new ClockTimer(callback);
    this.at(this.nowUs + Math.max(0, Math.round(ms * 1_000)), timer);
    return timer;
  }

  /** Runs an event at a time that is not past. @throws RangeError if it is */
  at(us: number, handler: EventHandler, argument = 0): void {
    if (!(us >= this.nowUs)) throw new RangeError(`an event at ${us} us, but it is ${this.nowUs} us`);
    const slot = this.#free.pop() ?? this.#handlers.length;
    this.#handlers[slot] = handler;
    this.#arguments[slot] = argument;
    if (this.#size === this.#times.length) this.#grow();
    this.#created += 1;
    this.#rise(this.#size, us, this.#created, slot);
    this.#size += 1;
  }

  /** Runs all events up to this time, those included that they add. */
  runUntil(us: number): void {
    while (this.#size > 0 && (this.#times[0] as number) <= us) this.#runFirst();
    this.nowUs = us;
  }

  #runFirst(): void {
    this.nowUs = this.#times[0] as number;
    const slot = this.#slots[0] as number;
    this.#removeFirst();
    const handler = this.#handlers[slot] as EventHandler;
    const argument = this.#arguments[slot] as number;
    this.#handlers[slot] = NOTHING;
    this.#free.push(slot);
    this.events += 1;
    handler.onEvent(argument);
  }

  #removeFirst(): void {
    this.#size -= 1;
    const last = this.#size;
    if (last === 0) return;
    this.#sink(this.#times[last] as number, this.#orders[last] as number, this.#slots[last] as number);
  }

  #rise(from: number, us: number, order: number, slot: number): void {
    let hole = from;
    while (hole > 0) {
      const parent = (hole - 1) >> 2;
      // later ones are created later: only the time can be less
      if ((this.#times[parent] as number) <= us) break;
      this.#move(parent, hole);
      hole = parent;
    }
    this.#put(hole, us, order, slot);
  }

  /** Fills the hole at the top. */
  #sink(us: number, order: number, slot: number): void {
    let hole = 0;
    for (;;) {
      const first = hole * FAN_OUT + 1;
      if (first >= this.#size) break;
      const end = Math.min(first + FAN_OUT, this.#size);
      let least = first;
      for (let child = first + 1; child < end; child += 1) if (this.#isBefore(child, least)) least = child;
      const time = this.#times[least] as number;
      if (time > us || (time === us && (this.#orders[least] as number) > order)) break;
      this.#move(least, hole);
      hole = least;
    }
    this.#put(hole, us, order, slot);
  }

  #isBefore(a: number, b: number): boolean {
    const timeA = this.#times[a] as number;
    const timeB = this.#times[b] as number;
    return timeA < timeB || (timeA === timeB && (this.#orders[a] as number) < (this.#orders[b] as number));
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#times[from] as number, this.#orders[from] as number, this.#slots[from] as number);
  }

  #put(index: number, us: number, order: number, slot: number): void {
    this.#times[index] = us;
    this.#orders[index] = order;
    this.#slots[index] = slot;
  }

  #grow(): void {
    const capacity = this.#size * 2;
    const [times, orders, slots] = [this.#times, this.#orders, this.#slots];
    this.#times = new Float64Array(capacity);
    this.#orders = new Float64Array(capacity);
    this.#slots = new Int32Array(capacity);
    this.#times.set(times);
    this.#orders.set(orders);
    this.#slots.set(slots);
  }
}

class ClockTimer implements Timer, EventHandler {
  constructor(private callback: (() => void) | undefined) {}

  onEvent(): void {
    this.callback?.();
  }

  cancel(): void {
    this.callback = undefined;
  }

  hold(): void {
    // the simulation lasts as long as it is run
  }
}
