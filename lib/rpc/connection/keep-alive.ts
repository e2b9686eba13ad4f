import type { Clock, Timer } from '../../protocol/clock.js';
import type { KeepAliveOptions } from '../limits.js';
import type { PingSink } from './pings.js';

/** What the keep-alive needs from its connection. */
export interface KeepAliveTarget {
  /** Sends a ping. Any received bytes say that the peer lives; `sink` is told of the answer itself. */
  ping(sink?: PingSink): void;
  /** The peer was silent for too long. */
  lost(): void;
  /** Reading is paused, so the peer's silence proves nothing. Every pause has its own timeout. */
  isReadingPaused(): boolean;
  /** Whether calls of this side wait for their answers. */
  hasCallsInFlight(): boolean;
  /** Whether channels are open. */
  hasChannels(): boolean;
  /** Whether this side makes calls at all: a client. */
  readonly makesCalls: boolean;
  /** Whether calls were started since the last check, or are in flight. */
  isBusy(): boolean;
  /** No call for `idleTimeoutMs`. */
  idle(): void;
  /** A client: a ping is not answered as fast as it should be. False: the peer is heard again. */
  suspected?(isSuspect: boolean): void;
  /** A client: the proof that {@link KeepAlive.isUnproven} waits for is there. */
  proven?(): void;
  /** A client: it is not, in time. Calls should go to another connection. */
  notProven?(): void;
}

/** A check that is late by a share of what it waited for proves nothing about the peer: this process was stalled. */
const STALL_DIVISOR = 4;

/** Least time for the answer to a ping before the peer is suspect: a pause of its garbage collection is shorter. */
const MIN_SUSPECT_MS = 250;

/**
 * Keep-alive of a connection with one timer, which is not reset by each frame: a check computes how long the peer has been
 * silent.
 *
 * - Both sides: silence of `intervalMs` sends a ping; `maxMissed` unanswered pings end the connection.
 * - A client with calls in flight: silence of `busyIntervalMs` sends a ping, silence of `busyTimeoutMs` ends the connection. With
 *   nothing but channels, which may be silent for hours, the ping is sent after half of `busyTimeoutMs`.
 * - A client whose ping is not answered within twice the longest round trip tells its owner that the peer is suspect.
 * - A client that was frozen for so long that the peer should have been pinged and given up meanwhile sends no call before the
 *   peer has answered a ping: it may have closed the connection long ago.
 */
export class KeepAlive {
  /** Calls must wait: the peer has to answer a ping first. */
  isUnproven = false;

  #heardAt: number;
  /** A ping was sent, and nothing received since `#askedAt`. */
  #isAsking = false;
  #askedAt = 0;
  /** Unanswered pings for silence of `intervalMs`, and when the last of them was sent. */
  #missed = 0;
  #missedAt = 0;
  #isSuspect = false;
  /** Until when the peer must have answered if it is unproven. */
  #proofBy = 0;
  #longestTripMs = 0;
  /** When the calls in flight began, or a stall of this process ended: silence before that says nothing about them. */
  #busySince = 0;
  /** Whether calls were started since the last check. */
  #isUsed = true;
  #idleSince: number;
  #dueAt = 0;
  #intervalMs: number;
  /** Silence that the checks cannot have missed, unless this process was frozen. */
  #staleMs = Infinity;
  #isStopped = false;
  #timer: Timer | undefined;

  constructor(
    private readonly target: KeepAliveTarget,
    private readonly options: KeepAliveOptions,
    private readonly clock: Clock,
  ) {
    this.#heardAt = this.#idleSince = clock.now();
    this.#intervalMs = options.intervalMs;
  }

  /** `intervalMs` has jitter, so that not all connections ping together. */
  start(intervalMs = this.options.intervalMs): void {
    const { timeoutMs, maxMissed } = this.options;
    if (this.options.intervalMs <= 0) return;
    this.#intervalMs = intervalMs;
    this.#heardAt = this.clock.now();
    this.#isUsed = false;
    if (this.target.makesCalls) this.#staleMs = intervalMs + timeoutMs * Math.max(1, maxMissed);
    this.#schedule(this.#heardAt);
  }

  /** Bytes were received. */
  heard(): void {
    this.#heardAt = this.clock.now();
    if (this.#isAsking) this.#answered();
  }

  /** A call or channel starts. Costs two comparisons, except for the first after each check. */
  used(now: number): void {
    if (!this.#isUsed) this.#begin(now);
    if (now - this.#heardAt > this.#staleMs) this.#doubt(now);
  }

  stop(): void {
    this.#isStopped = true;
    this.isUnproven = false;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  // --- what happens between checks ----------------------------------------------------------------------------

  #answered(): void {
    this.#isAsking = false;
    this.#missed = 0;
    if (this.#isSuspect && !this.isUnproven) this.#suspect(false);
  }

  #begin(now: number): void {
    this.#isUsed = true;
    // a ping that waits for its answer has asked for these calls, too
    if (!this.#hasWork()) this.#busySince = this.#isAsking ? Math.max(this.#busySince, this.#askedAt) : now;
    this.#checkWithin(now, this.options.busyIntervalMs || Infinity);
  }

  /** This process was frozen: no timer has fired. */
  #doubt(now: number): void {
    if (this.isUnproven || this.#isStopped) return;
    if (this.target.isReadingPaused()) return;
    this.isUnproven = true;
    this.#busySince = now;
    this.#proofBy = now + this.#suspectMs();
    this.#suspect(true);
    this.#ask(now);
    this.#checkWithin(now, this.#suspectMs());
  }

  #ask(now: number): void {
    if (!this.#isAsking) this.#askedAt = now;
    this.#isAsking = true;
    this.target.ping({ resolve: () => this.#pong(now), reject: () => {} });
  }

  #pong(sentAt: number): void {
    this.#longestTripMs = Math.max(this.#longestTripMs, this.clock.now() - sentAt);
    if (!this.isUnproven) return;
    this.isUnproven = false;
    this.#suspect(false);
    this.target.proven?.();
  }

  #suspect(isSuspect: boolean): void {
    if (isSuspect === this.#isSuspect) return;
    this.#isSuspect = isSuspect;
    this.target.suspected?.(isSuspect);
  }

  // --- the checks ---------------------------------------------------------------------------------------------

  readonly #check = (): void => {
    const { timeoutMs, idleTimeoutMs } = this.options;
    const now = this.clock.now();
    const lateMs = now - this.#dueAt;
    this.#timer = undefined;
    this.#isUsed = false;
    if (this.target.isBusy()) this.#idleSince = now;
    else if (idleTimeoutMs > 0 && now - this.#idleSince >= idleTimeoutMs) return this.target.idle();
    if (this.target.isReadingPaused()) return this.#pingWhilePaused(now);
    // this process was stalled: the peer's answer may be in the socket, unread
    if (lateMs * STALL_DIVISOR >= timeoutMs) this.#askAgain(now);
    else if (this.#isSilent(now) || this.#isSilentWhileBusy(now)) return this.target.lost();
    if (this.target.makesCalls) this.#judge(now, lateMs);
    this.#schedule(now);
  };

  #askAgain(now: number): void {
    this.#busySince = this.#askedAt = now;
    this.#missed = Math.min(this.#missed + 1, Math.max(this.options.maxMissed, 1));
    this.#missedAt = now;
    if (now - this.#heardAt > this.#staleMs && !this.isUnproven) return this.#doubt(now);
    this.#proofBy = now + this.#suspectMs(); // if it is unproven already
    this.#ask(now);
  }

  /** The rule of `intervalMs`. Returns whether the peer counts as lost. */
  #isSilent(now: number): boolean {
    if (now < this.#nextPingAt()) return false;
    if (this.#missed >= this.options.maxMissed) return true;
    this.#missed += 1;
    this.#missedAt = now;
    this.#ask(now);
    return false;
  }

  #nextPingAt(): number {
    return this.#missed > 0 ? this.#missedAt + this.options.timeoutMs : this.#heardAt + this.#intervalMs;
  }

  /** The rule of `busyIntervalMs`. Returns whether the peer counts as lost. */
  #isSilentWhileBusy(now: number): boolean {
    if (now < this.#nextBusyAt()) return false;
    if (this.#isAsking) return true;
    this.#ask(now);
    return false;
  }

  /** When silence is too long for what is in flight: for a ping, or if one has been sent, for the connection. */
  #nextBusyAt(): number {
    const { busyIntervalMs, busyTimeoutMs } = this.options;
    if (busyIntervalMs <= 0 || busyTimeoutMs <= 0 || !this.#hasWork()) return Infinity;
    const since = Math.max(this.#heardAt, this.#busySince);
    if (this.#isAsking) return Math.max(since + busyTimeoutMs, this.#askedAt + this.#suspectMs());
    const halfMs = busyTimeoutMs / 2;
    return since + (this.target.hasCallsInFlight() ? busyIntervalMs : Math.max(busyIntervalMs, halfMs));
  }

  /** Whether a ping is unanswered for so long that other servers are better. */
  #judge(now: number, lateMs: number): void {
    const suspectMs = this.#suspectMs();
    const isStalled = lateMs * STALL_DIVISOR >= suspectMs;
    if (this.#isAsking && !this.#isSuspect && now >= this.#askedAt + suspectMs) {
      if (isStalled) this.#askedAt = now;
      else this.#suspect(true);
    }
    if (!this.isUnproven || now < this.#proofBy) return;
    if (isStalled) {
      this.#proofBy = now + suspectMs;
      return;
    }
    this.isUnproven = false;
    this.#staleMs = Infinity;
    this.target.notProven?.();
  }

  #suspectMs(): number {
    return Math.min(Math.max(MIN_SUSPECT_MS, 2 * this.#longestTripMs), this.options.timeoutMs / 2);
  }

  #hasWork(): boolean {
    return this.target.makesCalls && (this.target.hasCallsInFlight() || this.target.hasChannels());
  }

  /**
   * While reading is paused, silence does not count. The ping is still sent: if the peer is gone, the kernel gets no ACK
   * for it and ends the connection.
   */
  #pingWhilePaused(now: number): void {
    if (this.#isAsking || now >= this.#heardAt + this.#intervalMs) {
      this.target.ping();
      this.heard();
    }
    this.#missed = 0;
    this.#wait(now, Math.min(this.#heardAt + this.#intervalMs - now, this.#maxWaitMs()));
  }

  #schedule(now: number): void {
    let at = Math.min(this.#nextPingAt(), this.#nextBusyAt());
    if (this.target.makesCalls && this.#isAsking && !this.#isSuspect)
      at = Math.min(at, this.#askedAt + this.#suspectMs());
    if (this.isUnproven) at = Math.min(at, this.#proofBy);
    this.#wait(now, Math.min(at - now, this.#maxWaitMs()));
  }

  /**
   * A client checks more often: bytes that come before a check shorten the time to the next, and the longer a timer, the less it
   * notices that this process stood still.
   */
  #maxWaitMs(): number {
    const { timeoutMs, busyIntervalMs } = this.options;
    if (!this.target.makesCalls) return Infinity;
    return busyIntervalMs > 0 && this.#hasWork() ? Math.min(timeoutMs, busyIntervalMs) : timeoutMs;
  }

  #checkWithin(now: number, ms: number): void {
    if (!this.#timer || this.#dueAt <= now + ms) return;
    this.#timer.cancel();
    this.#wait(now, ms);
  }

  #wait(now: number, ms: number): void {
    if (this.#isStopped) return;
    const waitMs = Math.max(ms, 1);
    this.#dueAt = now + waitMs;
    this.#timer = this.clock.after(waitMs, this.#check);
  }
}
