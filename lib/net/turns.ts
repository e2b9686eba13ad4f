import type { Clock } from '../protocol/clock.js';
import { nextTick, queueMicrotask, setImmediate } from './runtime.js';

/** After so long, sockets, timers and other work have their turn. */
export const TURN_MS = 5;

/** Part of the time for which the process was held up that those who waited have to catch up, beside their turn. */
const CATCH_UP_SHARE = 1 / 4;

/** One connection that has frames to hand on. */
export interface TurnTaker {
  readonly clock: Clock;
  /** Whether it has handed on as many frames as may go in one turn. */
  readonly isTurnOver: boolean;
  beginTurn(): void;
  /** Hands on a share of them. Whether more are left. */
  takeShare(): boolean;
  /** What the share cost, with all that its handlers did at once. */
  shareTook(ms: number): void;
}

/**
 * Lets connections hand on their frames in turns, one share after the other, between two looks at the sockets. What is
 * quick to handle goes on for 5 ms of all connections together, however many frames that are, and for longer where
 * something has held the process up: those who waited catch up at once. A connection whose share took all that time
 * is done until the next look, and each gets one share at least.
 */
export class Turns {
  #waiting: TurnTaker[] = [];
  /** Those that have had a share of this round and have more. */
  #next: TurnTaker[] = [];
  /** Time for the shares that are quick, and what they have taken of it. */
  #budgetMs = TURN_MS;
  #spentMs = 0;
  /** When the sockets were looked at last, while connections wait. */
  #lastBegin: number | undefined;
  #isScheduled = false;

  /** Goes on with the turn of a connection that came up by itself and has frames left after a share. */
  goOn(taker: TurnTaker, turnSince: number, since = turnSince): void {
    afterMicrotasks(() => {
      const now = taker.clock.now();
      taker.shareTook(now - since);
      if (taker.isTurnOver || now - turnSince >= TURN_MS) this.add(taker);
      else if (taker.takeShare()) this.goOn(taker, turnSince, now);
    });
  }

  /** A connection has frames left after its turn. */
  add(taker: TurnTaker): void {
    this.#waiting.push(taker);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#begin);
  }

  readonly #begin = (): void => {
    const now = this.#waiting[0]?.clock.now() ?? 0;
    const heldUpMs = now - (this.#lastBegin ?? now);
    this.#lastBegin = now;
    this.#budgetMs = TURN_MS + heldUpMs * CATCH_UP_SHARE;
    this.#spentMs = 0;
    this.#round(this.#waiting.splice(0));
  };

  #round(takers: TurnTaker[]): void {
    const taker = takers.shift();
    if (taker) return this.#share(taker, takers);
    if (this.#next.length > 0 && this.#spentMs < this.#budgetMs) return this.#round(this.#next.splice(0));
    this.#waiting = this.#next.splice(0).concat(this.#waiting);
    this.#isScheduled = false;
    if (this.#waiting.length > 0) this.#schedule();
    else this.#lastBegin = undefined;
  }

  #share(taker: TurnTaker, others: TurnTaker[]): void {
    const since = taker.clock.now();
    let hasMore = false;
    // handlers often begin behind an `await` or two: their work belongs to the share, and their answers leave with it
    afterMicrotasks(() => {
      const ms = taker.clock.now() - since;
      taker.shareTook(ms);
      const isQuick = ms < this.#budgetMs;
      if (isQuick) this.#spentMs += ms;
      if (hasMore) (isQuick ? this.#next : this.#waiting).push(taker);
      this.#round(others);
    });
    taker.beginTurn();
    hasMore = taker.takeShare();
  }
}

/** Calls back when what runs now, and all that it has left for microtasks, is done. */
function afterMicrotasks(callback: () => void): void {
  queueMicrotask(() => nextTick(callback));
}

/** Connections of all servers and clients of the process share its time. */
export const processTurns = new Turns();
