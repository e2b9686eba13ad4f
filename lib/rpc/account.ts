import { ReadingPause, type ReadingPauseOptions } from './reading-pause.js';

/** Upper bound of the cost that an account has not reported to the one above it. */
const MAX_STEP = 64 * 1024;
/** The unreported cost of 1024 connections is at most a quarter of the limit above them. */
const STEPS_IN_LIMIT = 4096;

/**
 * The memory held on behalf of a peer, as cost: wire bytes, plus {@link ITEM_COST} for each value in them. Accounts form
 * a chain: connection, address, server. Each reports changes upwards in steps, so that a small call costs an addition.
 */
export class Account {
  readonly #step: number;
  #held = 0;
  /** Cost that the account above knows of. */
  #reported = 0;
  /** Called after each release; each checks whether it was enough. */
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

  /** Whether this account or one above is over its limit. */
  get isFull(): boolean {
    return this.#held > this.limit || (this.above !== undefined && this.above.isFull);
  }

  /** A negative cost releases. */
  add(cost: number): void {
    this.#held += cost;
    if (this.above) this.#report(this.above);
    if (cost < 0 && this.#waiting) this.#wake(this.#waiting);
  }

  /** Calls back after each release, here or above. Returns a function that unsubscribes. */
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
    // an empty account always reports, so that nothing remains in the one above
    if (change <= this.#step && change >= -this.#step && (this.#held !== 0 || change === 0)) return;
    this.#reported = this.#held;
    above.add(change);
  }

  #wake(waiting: Set<() => void>): void {
    if (this.#held > this.limit) return;
    for (const callback of Array.from(waiting)) callback();
  }
}

/** What an {@link AccountPause} needs from its connection. */
export interface AccountPauseOptions extends Omit<ReadingPauseOptions, 'onTimeout'> {
  /** Drops some unread messages. @returns whether there were any */
  readonly shed: () => boolean;
  /** Whether the connection is closed: it is not paused any more. */
  readonly isOver: () => boolean;
}

/** Backpressure: pauses the reading of a connection while its account is full. */
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

  /** Adds the cost of unread messages; a negative cost releases. */
  charge(cost: number): void {
    this.account.add(cost);
    if (cost < 0) this.progress();
    else if (!this.options.isOver()) this.check();
  }

  /** Pauses if the account is full. */
  check(): void {
    if (this.#pause || !this.account.isFull) return;
    this.#stop = this.account.onRelease(() => {
      if (!this.account.isFull) this.end();
    });
    this.#pause = new ReadingPause({
      ...this.options,
      onTimeout: () => {
        // no unread message here: running calls or other connections fill the account, and the next frames are refused or pause again
        if (!this.options.shed()) this.end();
      },
    });
  }

  progress(): void {
    this.#pause?.progress();
  }

  /** Resumes reading, or the connection is closed. */
  end(): void {
    const pause = this.#pause;
    if (!pause) return;
    this.#pause = undefined;
    this.#stop?.();
    this.#stop = undefined;
    pause.end();
  }
}
