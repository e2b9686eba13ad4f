import type { Clock } from '../protocol/clock.js';
import type { Fault } from '../protocol/fault.js';
import { isAfter } from './correlation-ids.js';
import { IdTable } from './id-table.js';
import type { Incoming } from './incoming.js';
import { IncomingCall } from './incoming-call.js';
import type { RapLimits } from './limits.js';

/** Calls and channels that run on a whole server, over all its connections. */
export interface Load {
  running: number;
}

/** Work that a peer gave up so soon was not meant to be done. */
const PREMATURE_MS = 1000;
/** So much is looked at before a peer is judged by it. */
const RESET_SAMPLE = 500;

/** What runs for one peer, within its limits. */
export class IncomingTable {
  /** Calls refused with 429. */
  refused = 0;

  /** The last that came, refused ones included; 0 where none did. */
  lastId = 0;

  readonly #running = new IdTable<Incoming>();
  #channels = 0;
  #seen = 0;
  #endedCount = 0;
  #premature = 0;

  constructor(
    private readonly limits: RapLimits,
    private readonly load: Load,
    private readonly clock: Clock,
  ) {}

  get size(): number {
    return this.#running.size;
  }

  has(id: number): boolean {
    return this.#running.has(id);
  }

  get(id: number): Incoming | undefined {
    return this.#running.get(id);
  }

  /** Takes it in; false where there is no room, and it must be refused. Either way it is there until it has ended. */
  add(incoming: Incoming): boolean {
    if (isAfter(incoming.id, this.lastId)) this.lastId = incoming.id;
    this.#running.set(incoming.id, incoming);
    this.#seen += 1;
    this.load.running += 1;
    const isChannel = !(incoming instanceof IncomingCall);
    if (isChannel) this.#channels += 1;
    const fits =
      (isChannel
        ? this.#channels <= this.limits.maxChannels
        : this.#running.size - this.#channels <= this.limits.maxInFlight) &&
      this.load.running <= this.limits.maxInFlightTotal;
    if (!fits) this.refused += 1;
    return fits;
  }

  remove(incoming: Incoming): void {
    if (this.#running.get(incoming.id) !== incoming) return;
    this.#running.delete(incoming.id);
    this.load.running -= 1;
    if (!(incoming instanceof IncomingCall)) this.#channels -= 1;
  }

  /** Whether anything came in since the last time this was asked, or runs. */
  wasBusy(): boolean {
    const busy = this.#seen > 0 || this.#running.size > 0;
    this.#seen = 0;
    return busy;
  }

  /**
   * Something is over for the peer. False where it gives up most of what it starts, at once and before it got anything:
   * that costs it nothing, and this side work.
   */
  settled(startedAt: number, wasted: boolean): boolean {
    this.#endedCount += 1;
    if (wasted && this.clock.now() - startedAt < PREMATURE_MS) this.#premature += 1;
    if (this.#endedCount < RESET_SAMPLE) return true;
    const excessive = this.#premature * 2 > this.#endedCount;
    this.#endedCount = this.#premature = 0;
    return !excessive;
  }

  abortAll(reason: Fault): void {
    for (const incoming of this.#running.values()) incoming.abort(reason);
  }
}
