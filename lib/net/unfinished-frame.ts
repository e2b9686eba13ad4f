import type { Clock, Timer } from '../protocol/clock.js';
import { CloseReason } from '../protocol/event.js';
import type { BudgetHolder, InputBudget } from './input-budget.js';

/** While reading is paused, a frame whose time is up is checked again after this time. */
const MIN_CHECK_MS = 100;

/** A frame may take one second longer for each of these. */
const BYTES_PER_EXTRA_SECOND = 64 * 1024;

/** A link that may hold the beginning of a frame. */
export interface FrameHolder {
  /** Bytes of a frame that is not whole yet. */
  readonly unfinishedBytes: number;
  /** Gives up on that frame, and on the connection. */
  failFrame(why: string): void;
}

export interface UnfinishedFrameOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Bounds what the unfinished frames of all connections hold. */
  readonly budget: InputBudget | undefined;
}

/** The time and the memory of a frame that is not whole yet. */
export class UnfinishedFrame implements BudgetHolder {
  #timer: Timer | undefined;
  #beganAt: number | undefined;
  #pausedAt: number | undefined;

  constructor(
    private readonly holder: FrameHolder,
    private readonly options: UnfinishedFrameOptions,
  ) {}

  /** All frames so far are whole: bytes behind them belong to another one. */
  ended(): void {
    this.#beganAt = undefined;
  }

  /** Gives an unfinished frame its time, counted from its first byte and not from the last one. */
  watch(): void {
    const { clock, timeoutMs, budget } = this.options;
    const bytes = this.holder.unfinishedBytes;
    // a frame that begins behind another is the youngest
    if (this.#beganAt === undefined) budget?.set(this, 0);
    budget?.set(this, bytes);
    if (bytes === 0) return;
    this.#beganAt ??= clock.now();
    this.#timer ??= clock.after(timeoutMs, this.#check);
  }

  /** Nothing is read from now on. */
  pause(): void {
    this.#pausedAt = this.options.clock.now();
  }

  /** The peer could not finish its frame while nothing was read. */
  resume(): void {
    if (this.#beganAt !== undefined && this.#pausedAt !== undefined)
      this.#beganAt += this.options.clock.now() - this.#pausedAt;
    this.#pausedAt = undefined;
  }

  evict(): void {
    this.holder.failFrame('too many unfinished frames on this server');
  }

  stop(): void {
    this.#timer?.cancel();
    this.options.budget?.set(this, 0);
  }

  readonly #check = (): void => {
    this.#timer = undefined;
    const { clock, timeoutMs } = this.options;
    const bytes = this.holder.unfinishedBytes;
    if (bytes === 0 || this.#beganAt === undefined) return;
    const now = clock.now();
    const pausedMs = this.#pausedAt === undefined ? 0 : now - this.#pausedAt;
    const extraMs = (bytes / BYTES_PER_EXTRA_SECOND) * 1000;
    const leftMs = this.#beganAt + timeoutMs + extraMs + pausedMs - now;
    if (leftMs <= 0 && this.#pausedAt === undefined) this.holder.failFrame(CloseReason.IncompleteFrame);
    else this.#timer = clock.after(Math.max(leftMs, MIN_CHECK_MS), this.#check);
  };
}
