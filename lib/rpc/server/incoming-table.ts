import type { Clock } from '../../protocol/clock.js';
import type { Fault } from '../../protocol/fault.js';
import type { Account } from '../account.js';
import { isAfter } from '../correlation-ids.js';
import { IdTable } from '../id-table.js';
import type { AnyIncoming } from './any-incoming.js';
import type { IncomingCall } from './incoming-call.js';
import type { IncomingChannel } from './incoming-channel.js';
import type { RapLimits } from '../limits.js';
import type { Load } from '../load.js';
import type { LoadMeter, Refusal } from './load-meter.js';

/** A cancel within this time counts as a rapid reset. */
const RAPID_RESET_MS = 1000;
/** Settled calls and channels per sample; a sample whose first rapid reset is older than the window starts again. */
const RESET_SAMPLE_SIZE = 500;
const RESET_WINDOW_MS = 10_000;
/** Calls and channels of one connection that may run beyond the limits at once, if their function is spared. */
const MAX_SPARED = 4;

/** The calls and channels in flight from one peer, and the limits on them. */
export class IncomingTable {
  /** Calls refused with 429. */
  refused = 0;
  /** Why the server is overloaded, if the last refusal was for that. */
  overload: Refusal | undefined;

  /** Last id that arrived, refused ones included; 0 if none did. */
  lastId = 0;

  readonly #running = new IdTable<AnyIncoming>();
  /** Those that run although they exceed a limit. */
  readonly #spared = new Set<AnyIncoming>();
  #channels = 0;
  #seen = 0;
  #endedCount = 0;
  #rapidResets = 0;
  /** Time of the first rapid reset in this sample. */
  #rapidResetsSince = 0;
  /** Unsettled calls and channels: now, and the most at once in this sample. */
  #awaited = 0;
  #mostAwaited = 0;

  constructor(
    private readonly limits: RapLimits,
    private readonly load: Load,
    /** The account of the connection. */
    private readonly account: Account,
    private readonly clock: Clock,
    /** Load of the server, for reports and refusals. */
    private readonly meter?: LoadMeter,
    /** Whether a function is answered under overload, too. */
    private readonly spares?: (target: string) => boolean,
  ) {}

  get size(): number {
    return this.#running.size;
  }

  has(id: number): boolean {
    return this.#running.has(id);
  }

  get(id: number): AnyIncoming | undefined {
    return this.#running.get(id);
  }

  /** Adds it; false if a limit is exceeded, and it must be refused. Either way it stays until it has ended. */
  add(incoming: AnyIncoming): boolean {
    if (isAfter(incoming.id, this.lastId)) this.lastId = incoming.id;
    this.#running.set(incoming.id, incoming);
    this.#seen += 1;
    this.#awaited += 1;
    if (this.#awaited > this.#mostAwaited) this.#mostAwaited = this.#awaited;
    this.account.add(incoming.cost);
    const fits = (incoming.kind === 'call' ? this.#addCall() : this.#addChannel()) && !this.account.isFull;
    const { meter } = this;
    meter?.arrived(incoming);
    if (fits && (meter === undefined || this.#admit(incoming, meter))) return true;
    if (this.spare(incoming)) return true;
    this.overload = fits ? meter?.shed() : undefined;
    this.#refuse();
    return false;
  }

  /** Whether it may run although it would be refused: of few functions, a few at once. */
  spare(incoming: AnyIncoming): boolean {
    if (this.#spared.has(incoming)) return true;
    const { target } = incoming.header;
    if (typeof target !== 'string' || !this.spares?.(target)) return false;
    if (this.#spared.size >= MAX_SPARED || this.account.isFull) return false;
    this.#spared.add(incoming);
    return true;
  }

  /**
   * Gives a channel a slot of the server, later than `add`: a channel that waits for the parameters of its function does not
   * hold one. False if none is free, and it must be refused.
   */
  takeSlot(channel: IncomingChannel): boolean {
    if (channel.hasSlot || this.#running.get(channel.id) !== channel) return true;
    channel.hasSlot = true;
    const fits = this.load.addChannel() || this.spare(channel);
    if (!fits) this.#refuse();
    return fits;
  }

  /** The call becomes a stream. */
  becomesStream(call: IncomingCall): void {
    if (call.isMetered) this.meter?.leave(call);
  }

  #admit(incoming: AnyIncoming, meter: LoadMeter): boolean {
    return incoming.kind === 'call' ? meter.admitCall(incoming) : meter.admitChannel();
  }

  #refuse(): void {
    this.refused += 1;
    this.meter?.refused();
  }

  #addCall(): boolean {
    const fits = this.load.addCall();
    return this.#running.size - this.#channels <= this.limits.maxInFlight && fits;
  }

  #addChannel(): boolean {
    this.#channels += 1;
    return this.#channels <= this.limits.maxChannels;
  }

  remove(incoming: AnyIncoming): void {
    if (this.#running.get(incoming.id) !== incoming) return;
    this.#running.delete(incoming.id);
    this.account.add(-incoming.cost);
    if (this.#spared.size > 0) this.#spared.delete(incoming);
    if (incoming.kind === 'call') {
      if (incoming.isMetered) this.meter?.ended(incoming);
      return this.load.removeCall();
    }
    this.#channels -= 1;
    if (incoming.hasSlot) this.load.removeChannel();
    incoming.hasSlot = false;
  }

  /** Whether anything arrived since the last check, or is in flight. */
  wasBusy(): boolean {
    const busy = this.#seen > 0 || this.#running.size > 0;
    this.#seen = 0;
    return busy;
  }

  /**
   * A call or channel has settled. False if rapid resets are most of a sample: they cost the peer nothing, and this side
   * work. A peer may cancel everything in flight once: its own caller may have disconnected.
   */
  settled(startedAt: number, wasted: boolean): boolean {
    this.#awaited -= 1;
    this.#endedCount += 1;
    if (wasted) this.#countWasted(startedAt);
    if (this.#endedCount < RESET_SAMPLE_SIZE) return true;
    const isExcessive = this.#rapidResets > Math.max(this.#endedCount / 2, this.#mostAwaited);
    this.#startSample();
    return !isExcessive;
  }

  #startSample(): void {
    this.#endedCount = this.#rapidResets = 0;
    this.#mostAwaited = this.#awaited;
  }

  #countWasted(startedAt: number): void {
    const now = this.clock.now();
    if (now - startedAt >= RAPID_RESET_MS) return;
    if (this.#rapidResets > 0 && now - this.#rapidResetsSince >= RESET_WINDOW_MS) {
      this.#startSample();
      this.#endedCount = 1;
    }
    if (this.#rapidResets === 0) this.#rapidResetsSince = now;
    this.#rapidResets += 1;
  }

  /** The server drains: aborts the `draining` signals. */
  drainAll(): void {
    for (const incoming of this.#running.values()) incoming.drain();
  }

  abortAll(reason: Fault): void {
    for (const incoming of this.#running.values()) incoming.abort(reason);
  }
}
