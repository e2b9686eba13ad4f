import type { Clock } from '../protocol/clock.js';
import { nextTick, queueMicrotask, setImmediate } from './runtime.js';

/** After this time, sockets, timers and other work have their turn. */
export const TURN_MS = 5;

/** Part of the time for which the process was blocked that waiting connections get to catch up, beside their turn. */
const CATCH_UP_SHARE = 1 / 4;

/** A connection that has frames to deliver. */
export interface TurnTaker {
  readonly clock: Clock;
  /** Whether it has delivered as many frames as one turn allows. */
  readonly isTurnOver: boolean;
  beginTurn(): void;
  /** Delivers a share of them. @returns whether more remain */
  takeShare(): boolean;
  /** Time of the share, with all that its handlers did at once. */
  shareTook(ms: number): void;
}

/**
 * Lets connections deliver their frames in turns, one share after another, between two polls of the sockets. Quick shares
 * go on for 5 ms of all connections together, however many frames that are, and for longer if the process was blocked:
 * waiting connections catch up at once. A connection whose share took all that time waits until the next poll, and each
 * gets at least one share.
 */
export class Turns {
  #waiting: TurnTaker[] = [];
  /** Connections that have had a share in this round and have more frames. */
  #next: TurnTaker[] = [];
  /** Time for quick shares, and the time that they have taken. */
  #budgetMs = TURN_MS;
  #spentMs = 0;
  /** When the sockets were polled last, while connections wait. */
  #lastBegin: number | undefined;
  #isScheduled = false;

  /** Continues the turn of a connection that began it by itself and has more frames after a share. */
  goOn(taker: TurnTaker, turnSince: number, since = turnSince): void {
    afterMicrotasks(() => {
      const now = taker.clock.now();
      taker.shareTook(now - since);
      if (taker.isTurnOver || now - turnSince >= TURN_MS) this.add(taker);
      else if (taker.takeShare()) this.goOn(taker, turnSince, now);
    });
  }

  /** A connection has more frames after its turn. */
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
    // handlers often start after an `await` or two: their work belongs to the share, and their answers are sent with it
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

/** Calls back when the running code and all its microtasks are done. */
function afterMicrotasks(callback: () => void): void {
  queueMicrotask(() => nextTick(callback));
}

/** Connections of all servers and clients of the process share its time. */
export const processTurns = new Turns();
