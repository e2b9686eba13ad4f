import type { Clock } from '../protocol/clock.js';
import { textOf } from '../protocol/values/unknown.js';

export interface StoreGuardOptions {
  /** Time for an answer of the store, in milliseconds. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** What applies while the store is down, for the log. */
  readonly meanwhile: () => string;
  /** Called once when the store is lost, and once when it is back. */
  readonly log: (message: string) => void;
}

/** Time after a failure in which the store is not asked again. */
export const STORE_REST_MS = 1000;

/**
 * Guards a store that may be down: limits the time of each command, and tries a store that is down once a second, so that
 * nothing else waits for it.
 */
export class StoreGuard {
  /** Time from which the store may be asked again; `undefined` while it is up. */
  #restsUntil: number | undefined;

  constructor(private readonly options: StoreGuardOptions) {}

  /**
   * The answer of the store, or `undefined` if there is none in time; never rejects. A store in memory answers at once,
   * without a promise.
   *
   * @param late called with an answer after that
   */
  ask<T extends boolean | number>(
    command: () => T | Promise<T>,
    late?: (value: T) => void,
  ): T | undefined | Promise<T | undefined> {
    if (this.#restsUntil !== undefined) {
      if (this.options.clock.now() < this.#restsUntil) return undefined;
      this.#restsUntil = Infinity; // this request tests the store; others do not wait for it
    }
    return this.insist(command, late);
  }

  /** As `ask`, but also asks a store that was down just now. */
  insist<T extends boolean | number>(
    command: () => T | Promise<T>,
    late?: (value: T) => void,
  ): T | undefined | Promise<T | undefined> {
    try {
      const answer = command();
      return answer instanceof Promise ? this.#inTime(answer, late) : answer;
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  #inTime<T>(answer: Promise<T>, late: ((value: T) => void) | undefined): Promise<T | undefined> {
    const { clock, timeoutMs } = this.options;
    return new Promise((resolve) => {
      let over = false;
      const settle = (value: T | undefined): void => {
        over = true;
        timer.cancel();
        resolve(value);
      };
      const fail = (error: unknown): void => {
        if (over) return;
        this.#failed(error);
        settle(undefined);
      };
      const timer = clock.after(timeoutMs, () => fail(new Error(`no answer within ${timeoutMs} ms`)));
      answer.then((value) => {
        if (over) return late?.(value);
        this.#answered();
        settle(value);
      }, fail);
    });
  }

  #failed(error: unknown): void {
    const { clock, log, meanwhile } = this.options;
    const wasUp = this.#restsUntil === undefined;
    this.#restsUntil = clock.now() + STORE_REST_MS;
    if (wasUp) log(`the store fails (${textOf(error)}): ${meanwhile()}`);
  }

  #answered(): void {
    if (this.#restsUntil === undefined) return;
    this.#restsUntil = undefined;
    this.options.log('the store is back');
  }
}
