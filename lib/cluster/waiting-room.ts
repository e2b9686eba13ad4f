import type { Clock, Timer } from '../protocol/clock.js';
import { Fault, LocalCode } from '../protocol/fault.js';
import { Status } from '../protocol/status.js';

/** What waits until a server takes calls. */
export interface Waiting {
  /** Bytes that are kept for it. */
  readonly bytes: number;
  /** A server takes calls: it tries again. */
  retry(): void;
  fail(reason: Fault): void;
}

/** Limits of a {@link WaitingRoom}. */
export interface WaitingLimits {
  readonly maxQueuedCalls: number;
  readonly maxQueuedBytes: number;
}

/** Longer than any timer that calls wait for. */
const KEEP_ALIVE_MS = 2 ** 31 - 1;

/**
 * Calls that wait until a server takes calls, bounded in number and bytes, and those that wait for their next attempt. They keep
 * the process alive: between two attempts to connect no socket does.
 */
export class WaitingRoom {
  /** With the time since which each waits. */
  readonly #waiting = new Map<Waiting, number>();
  /** Those that wait for a time of their own. */
  readonly #pausing = new Set<Waiting>();
  #bytes = 0;
  /** Why nothing may wait. */
  #refusal: Fault | undefined;
  #keeper: Timer | undefined;

  constructor(
    private readonly where: string,
    private readonly limits: WaitingLimits,
    private readonly clock: Clock,
  ) {}

  get size(): number {
    return this.#waiting.size + this.#pausing.size;
  }

  /** @returns why it may not wait; `undefined` if it does */
  add(waiting: Waiting): Fault | undefined {
    if (this.#refusal) return this.#refusal;
    const { maxQueuedBytes, maxQueuedCalls } = this.limits;
    const isFull = this.#bytes > maxQueuedBytes;
    if (isFull || this.#waiting.size >= maxQueuedCalls) return this.#overload(isFull);
    this.#waiting.set(waiting, this.clock.now());
    this.#bytes += waiting.bytes;
    this.#holdProcess();
    return undefined;
  }

  /** It calls `retry` itself, after some time; until then it fails with the others. @returns as `add` */
  pause(waiting: Waiting): Fault | undefined {
    if (this.#refusal) return this.#refusal;
    this.#pausing.add(waiting);
    this.#holdProcess();
    return undefined;
  }

  /** @returns whether it has waited */
  remove(waiting: Waiting): boolean {
    const hasWaited = this.#waiting.delete(waiting);
    if (hasWaited) this.#bytes -= waiting.bytes;
    else if (!this.#pausing.delete(waiting)) return false;
    this.#holdProcess();
    return true;
  }

  /** Lets all that wait now try again. One that must wait again comes last. */
  retryAll(): void {
    // one that is tried may end others
    for (const each of Array.from(this.#waiting.keys())) if (this.remove(each)) each.retry();
  }

  /** Fails what waits for a server, and has waited since this time or longer. */
  failAll(reason: Fault, latest = Infinity): void {
    for (const [each, since] of Array.from(this.#waiting))
      if (since <= latest && this.remove(each)) each.fail(reason);
  }

  /** Fails everything, and what comes before `open`. */
  refuse(reason: Fault): void {
    this.#refusal = reason;
    this.failAll(reason);
    for (const each of Array.from(this.#pausing)) if (this.remove(each)) each.fail(reason);
  }

  open(): void {
    this.#refusal = undefined;
  }

  #holdProcess(): void {
    const isNeeded = this.size > 0;
    if (isNeeded === (this.#keeper !== undefined)) return;
    this.#keeper?.cancel();
    this.#keeper = isNeeded ? this.clock.after(KEEP_ALIVE_MS, () => {}) : undefined;
    this.#keeper?.hold(true);
  }

  #overload(isFull: boolean): Fault {
    const bytes = isFull ? ` (${this.#bytes} bytes)` : '';
    return new Fault({
      status: Status.TooManyRequests,
      code: LocalCode.Overload,
      message: `Overload: ${this.#waiting.size} calls${bytes} wait for a connection to ${this.where}`,
      sent: 'no',
    });
  }
}
