import { inspect } from 'node:util';
import { setImmediate } from '../net/runtime.js';
import { systemClock } from '../rpc/time/system-clock.js';
import type { Clock } from '../protocol/clock.js';
import type { ManualClock } from './manual-clock.js';

/** Turns of the event loop without a byte on its way, after which nothing more is expected. */
const QUIET_TURNS = 4;
/** Most turns that one step waits: an endless stream never becomes quiet. */
const MAX_TURNS = 1000;

/**
 * The clock of a test bed: all times of its server and its clients run on it, such as time limits, keep-alive and the waits between
 * attempts to connect. Timers of your own code do not.
 */
export class RapTestClock {
  #advancing: Promise<void> = Promise.resolve();

  /** @internal */
  constructor(
    private readonly manual: ManualClock | undefined,
    private readonly moves: () => number,
  ) {}

  /** Whether it stands still until it is advanced. */
  get isManual(): boolean {
    return this.manual !== undefined;
  }

  /** Milliseconds since some fixed moment. */
  now(): number {
    return this.#clock.now();
  }

  /**
   * Moves time on. What falls due happens in its order, and what follows from it on the connections of the bed (an error that
   * reaches its caller, a new attempt) has happened when the promise resolves. It does not wait for the network, disks or timers of
   * your own code.
   *
   * @param ms milliseconds
   * @throws Error unless the bed was made with `clock: 'manual'`; RangeError unless `ms` is a number from 0
   */
  advance(ms: number): Promise<void> {
    const { manual } = this;
    if (!manual)
      throw new Error(`this clock runs by itself: make the bed with clock: 'manual' to advance it`);
    if (typeof ms !== 'number' || !(ms >= 0 && ms < Infinity))
      throw new RangeError(`advance() needs milliseconds, got ${inspect(ms)}`);
    this.#advancing = this.#advancing.then(() => this.#advance(manual, ms));
    return this.#advancing;
  }

  async #advance(clock: ManualClock, ms: number): Promise<void> {
    await this.#settled(); // what was begun before has set its timers
    const end = clock.now() + ms;
    while (clock.step(end)) await this.#settled();
    await this.#settled();
  }

  /** Resolves when nothing moves on the connections. */
  async #settled(): Promise<void> {
    let before = this.moves();
    let quiet = 0;
    for (let turns = 0; quiet < QUIET_TURNS && turns < MAX_TURNS; turns += 1) {
      await new Promise<void>((resolve) => void setImmediate(resolve));
      const now = this.moves();
      quiet = now === before ? quiet + 1 : 0;
      before = now;
    }
  }

  get #clock(): Clock {
    return this.manual ?? systemClock;
  }
}
