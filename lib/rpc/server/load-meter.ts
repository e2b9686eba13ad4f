import type { Clock, Timer } from '../../protocol/clock.js';
import { BEST_MOS } from '../connection/load-report.js';
import type { Load } from '../load.js';
import type { GradientLimit } from './gradient-limit.js';
import type { Incoming } from './incoming.js';
import type { IncomingCall } from './incoming-call.js';
import { LoopDelay } from './loop-delay.js';

/** Time between two looks at the event loop. */
const LOOK_MS = 25;
/** Shortest time between two reports. */
const REPORT_MS = 250;
/** Reports without work after which nothing is measured any more. */
const IDLE_REPORTS = 4;
/** Of the calls that end, at most every 8th has its time taken, and the first after a report: a look at the clock costs as much as the rest of it. */
const MIN_SAMPLE_GAP = 8;
/** Calls whose time is taken between two reports, beyond the gap. */
const SAMPLES = 64;
/** Delay of the event loop at which a server counts as unhealthy, if none is refused for it. */
const BAD_LOOP_DELAY_MS = 200;

const LAGGING: Refusal = { reason: 'loopDelay', message: 'The server is overloaded: its event loop lags' };
const ADAPTIVE: Refusal = {
  reason: 'adaptiveLimit',
  message: 'Too many calls in flight: the adaptive limit of the server is reached',
};

/** Why an overloaded server refuses new work. */
export interface Refusal {
  readonly reason: 'loopDelay' | 'adaptiveLimit';
  readonly message: string;
}

/** Body of the event of the extension `load`. */
export interface LoadBody {
  /** The mean since the last report: a moment says little of calls that take a few milliseconds. */
  readonly in_flight: number;
  /** Missing until a call has ended. */
  readonly latency_us?: number;
  readonly loop_delay_us: number;
  readonly refused: number;
}

/** A connection whose peer wants reports. */
export interface LoadListener {
  /** The last id that arrived. */
  readonly lastId: number;
  /** Whether anything of it is in flight. */
  readonly isInUse: boolean;
  tellLoad(body: LoadBody): void;
}

export interface LoadMeterOptions {
  readonly clock: Clock;
  /** Of the whole server. */
  readonly load: Load;
  /** See `RapLimits`; 0: calls are not refused for it. */
  readonly maxLoopDelayMs: number;
  /** `undefined`: there is no adaptive limit. */
  readonly adaptive?: GradientLimit | undefined;
}

/**
 * Measures the load of a server, tells it to the peers that want to know, and refuses new work while the server is overloaded.
 * A call costs a few counters; one timer does the rest, while there is work.
 */
export class LoadMeter {
  /** Time that recent calls took, in milliseconds; `undefined` until one has ended. */
  latencyMs: number | undefined;
  /** Share of refused calls and channels in the last second or so, 0 to 1. */
  refusedShare = 0;
  /** Calls and channels that were refused since the start because the event loop lagged. */
  refusedByLoopDelay = 0;
  /** The same because of the adaptive limit. */
  refusedByAdaptiveLimit = 0;

  readonly #loop = new LoopDelay();
  /** Those who are told, and the last id that each had then. */
  readonly #listeners = new Map<LoadListener, number>();
  /** Calls that run, without those that have become streams: they take as long as their reader wants. */
  #running = 0;
  #mostRunning = 0;
  /** Calls that may run at once: -1 while the event loop lags. */
  #ceiling: number;
  #timer: Timer | undefined;
  #dueAt = 0;
  #reportAt = 0;
  #idleReports = 0;
  // since the last report
  #looks = 0;
  #inFlightSum = 0;
  #arrived = 0;
  #refused = 0;
  #ended = 0;
  #samples = 0;
  #sampledMs = 0;
  // of the reports before, each counted half as much as the next
  #arrivedBefore = 0;
  #refusedBefore = 0;
  #untilSample = 1;
  #sampleGap = MIN_SAMPLE_GAP;

  constructor(private readonly options: LoadMeterOptions) {
    this.#ceiling = this.#limit;
  }

  /** Median delay of the event loop in the last second, in milliseconds; 0 while there is no work. */
  get loopDelayMs(): number {
    return this.#loop.medianMs;
  }

  /** The adaptive limit; `undefined` if there is none. */
  get adaptiveLimit(): number | undefined {
    return this.options.adaptive?.limit;
  }

  /**
   * Health of the server as Python's rap has it, a whole number from 0 (bad) to 5: five times the share of calls that are not
   * refused, times what is left of the event loop's delay to the one at which calls are refused.
   */
  get mos(): number {
    const bad = this.options.maxLoopDelayMs || BAD_LOOP_DELAY_MS;
    const loop = Math.max(0, 1 - this.loopDelayMs / bad);
    return Math.round(BEST_MOS * (1 - this.refusedShare) * loop);
  }

  /** New work is refused because the server is overloaded. Returns the reason. */
  shed(): Refusal {
    if (this.#ceiling < 0) this.refusedByLoopDelay += 1;
    else this.refusedByAdaptiveLimit += 1;
    return this.#ceiling < 0 ? LAGGING : ADAPTIVE;
  }

  // --- work ---------------------------------------------------------------------------------------------------

  /** A call or channel has arrived, whether or not it is accepted. */
  arrived({ startedAt }: Incoming): void {
    this.#arrived += 1;
    if (this.#timer === undefined) this.#begin(startedAt);
  }

  /** It is refused, by any limit. */
  refused(): void {
    this.#refused += 1;
  }

  /** Lets a call run; false if the server is overloaded. */
  admitCall(call: IncomingCall): boolean {
    if (this.#running >= this.#ceiling) return false;
    this.#running += 1;
    if (this.#running > this.#mostRunning) this.#mostRunning = this.#running;
    call.isMetered = true;
    return true;
  }

  /** As `admitCall`. The adaptive limit is for calls alone: a channel takes as long as both sides want. */
  admitChannel(): boolean {
    return this.#ceiling >= 0;
  }

  /** A call that was let run has ended. */
  ended(call: IncomingCall): void {
    this.leave(call);
    this.#ended += 1;
    this.#untilSample -= 1;
    if (this.#untilSample <= 0) this.#sample(call.startedAt);
  }

  /** A call that was let run becomes a stream, and does not count any more. */
  leave(call: IncomingCall): void {
    call.isMetered = false;
    this.#running -= 1;
  }

  #sample(startedAt: number): void {
    this.#untilSample = this.#sampleGap;
    this.#samples += 1;
    this.#sampledMs += Math.max(0, this.options.clock.now() - startedAt);
  }

  // --- reports ------------------------------------------------------------------------------------------------

  /** Tells a connection from now on. */
  watch(listener: LoadListener): void {
    this.#listeners.set(listener, listener.lastId);
  }

  /** The connection is closed. */
  unwatch(listener: LoadListener): void {
    this.#listeners.delete(listener);
  }

  /** No connection is left: stops measuring until the next call. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#loop.reset();
    this.#ceiling = this.#limit;
    this.#looks = this.#inFlightSum = 0;
    this.#arrived = this.#refused = this.#arrivedBefore = this.#refusedBefore = 0;
    this.refusedShare = 0;
  }

  get #limit(): number {
    return this.options.adaptive?.limit ?? Infinity;
  }

  #begin(now: number): void {
    this.#idleReports = 0;
    this.#reportAt = now + REPORT_MS;
    this.#wait(now);
  }

  #wait(now: number): void {
    this.#dueAt = now + LOOK_MS;
    this.#timer = this.options.clock.after(LOOK_MS, this.#look);
  }

  readonly #look = (): void => {
    const now = this.options.clock.now();
    this.#loop.add(Math.max(0, now - this.#dueAt), now);
    this.#wait(now);
    this.#looks += 1;
    this.#inFlightSum += this.options.load.running;
    if (now >= this.#reportAt) this.#report(now);
    const { maxLoopDelayMs } = this.options;
    const isLagging = maxLoopDelayMs > 0 && this.#loop.medianMs > maxLoopDelayMs;
    this.#ceiling = isLagging ? -1 : this.#limit;
  };

  #report(now: number): void {
    this.#reportAt = now + REPORT_MS;
    const isIdle = this.#arrived === 0 && this.options.load.running === 0;
    this.#foldLatency();
    this.#foldRefusals();
    this.#tell();
    this.#looks = this.#inFlightSum = 0;
    this.#idleReports = isIdle ? this.#idleReports + 1 : 0;
    if (this.#idleReports >= IDLE_REPORTS) this.stop();
  }

  #foldLatency(): void {
    if (this.#samples > 0) {
      const mean = this.#sampledMs / this.#samples;
      this.latencyMs = this.latencyMs === undefined ? mean : (this.latencyMs + mean) / 2;
      this.options.adaptive?.update(mean, this.#mostRunning);
    }
    this.#sampleGap = Math.max(MIN_SAMPLE_GAP, Math.floor(this.#ended / SAMPLES));
    this.#untilSample = 1;
    this.#ended = this.#samples = this.#sampledMs = 0;
    this.#mostRunning = this.#running;
  }

  #foldRefusals(): void {
    const arrived = (this.#arrivedBefore = this.#arrivedBefore / 2 + this.#arrived);
    const refused = (this.#refusedBefore = this.#refusedBefore / 2 + this.#refused);
    this.refusedShare = arrived > 0 ? Math.min(1, refused / arrived) : 0;
    this.#arrived = this.#refused = 0;
  }

  #tell(): void {
    if (this.#listeners.size === 0) return;
    const body = this.#body();
    for (const [listener, lastId] of this.#listeners) {
      if (!listener.isInUse && listener.lastId === lastId) continue;
      this.#listeners.set(listener, listener.lastId);
      listener.tellLoad(body);
    }
  }

  #body(): LoadBody {
    const { latencyMs } = this;
    return {
      in_flight: Math.round((this.#inFlightSum / this.#looks) * 100) / 100,
      ...(latencyMs === undefined ? {} : { latency_us: Math.round(latencyMs * 1000) }),
      loop_delay_us: Math.round(this.loopDelayMs * 1000),
      refused: Math.round(this.refusedShare * 1000) / 1000,
    };
  }
}
