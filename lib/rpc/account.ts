import { ReadingPause, type ReadingPauseOptions } from './reading-pause.js';

/** Most that an account does not report to the one above it. */
const MAX_STEP = 64 * 1024;
/** 1024 connections together do not report at most a quarter of the limit above them. */
const STEPS_IN_LIMIT = 4096;

/**
 * What is held on behalf of a peer, as cost: wire bytes, plus {@link ITEM_COST} for each value in them. Accounts form
 * a chain: a connection, its address, the server. Each reports its changes to the next one in steps, so that a small call
 * costs an addition.
 */
export class Account {
  readonly #step: number;
  #held = 0;
  /** What was reported to the account above. */
  #reported = 0;
  /** Called when something was released; they check whether that is enough. */
  #waiting: Set<() => void> | undefined;

  constructor(
    readonly limit: number,
    private readonly above?: Account,
  ) {
    this.#step = above ? Math.min(MAX_STEP, above.limit / STEPS_IN_LIMIT) : 0;
  }

  get held(): number {
    return this.#held;
  }

  /** Whether more is held than is allowed, here or above. */
  get isFull(): boolean {
    return this.#held > this.limit || (this.above !== undefined && this.above.isFull);
  }

  /** Holds more; less, if the cost is below 0. */
  add(cost: number): void {
    this.#held += cost;
    if (this.above) this.#report(this.above);
    if (cost < 0 && this.#waiting) this.#wake(this.#waiting);
  }

  /** Calls back whenever something is released, here or above, until the function that it returns is called. */
  onRelease(callback: () => void): () => void {
    const above = this.above?.onRelease(callback);
    this.#waiting ??= new Set();
    this.#waiting.add(callback);
    return () => {
      above?.();
      this.#waiting?.delete(callback);
      if (this.#waiting?.size === 0) this.#waiting = undefined;
    };
  }

  #report(above: Account): void {
    const change = this.#held - this.#reported;
    // when all is released, nothing may remain in the account above
    if (change <= this.#step && change >= -this.#step && (this.#held !== 0 || change === 0)) return;
    this.#reported = this.#held;
    above.add(change);
  }

  #wake(waiting: Set<() => void>): void {
    if (this.#held > this.limit) return;
    for (const callback of Array.from(waiting)) callback();
  }
}

/** What an {@link AccountPause} needs of its connection. */
export interface AccountPauseOptions extends Omit<ReadingPauseOptions, 'overdue'> {
  /** Releases some of what was not read. @returns whether there was anything */
  readonly letGo: () => boolean;
  /** Whether the connection is over: nothing is stopped then. */
  readonly isOver: () => boolean;
}

/** Stops the reading of a connection while its account is full. */
export class AccountPause {
  #pause: ReadingPause | undefined;
  #stop: (() => void) | undefined;

  constructor(
    private readonly account: Account,
    private readonly options: AccountPauseOptions,
  ) {}

  get isPausing(): boolean {
    return this.#pause !== undefined;
  }

  /** What was not read costs so much more, or less. */
  charge(cost: number): void {
    this.account.add(cost);
    if (cost < 0) this.progress();
    else if (!this.options.isOver()) this.check();
  }

  /** Something was added to what was not read. */
  check(): void {
    if (this.#pause || !this.account.isFull) return;
    this.#stop = this.account.onRelease(() => {
      if (!this.account.isFull) this.end();
    });
    this.#pause = new ReadingPause({
      ...this.options,
      overdue: () => {
        // if no message waits for a reader here, running calls or other connections fill it: the next frames are refused, or pause again
        if (!this.options.letGo()) this.end();
      },
    });
  }

  /** Something was read. */
  progress(): void {
    this.#pause?.progress();
  }

  /** The connection is read again, or closed. */
  end(): void {
    const pause = this.#pause;
    if (!pause) return;
    this.#pause = undefined;
    this.#stop?.();
    this.#stop = undefined;
    pause.end();
  }
}
