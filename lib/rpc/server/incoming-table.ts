import type { Clock } from '../../protocol/clock.js';
import type { Fault } from '../../protocol/fault.js';
import type { Account } from '../account.js';
import { isAfter } from '../correlation-ids.js';
import { IdTable } from '../id-table.js';
import type { AnyIncoming } from './any-incoming.js';
import type { IncomingChannel } from './incoming-channel.js';
import type { RapLimits } from '../limits.js';
import type { Load } from '../load.js';

/** Work that a peer gave up so soon was not meant to be done. */
const PREMATURE_MS = 1000;
/** So much is looked at before a peer is judged by it; what it gave up longer ago is forgotten. */
const RESET_SAMPLE = 500;
const RESET_WINDOW_MS = 10_000;

/** What runs for one peer, within its limits. */
export class IncomingTable {
  /** Calls refused with 429. */
  refused = 0;

  /** The last that came, refused ones included; 0 where none did. */
  lastId = 0;

  readonly #running = new IdTable<AnyIncoming>();
  #channels = 0;
  #seen = 0;
  #endedCount = 0;
  #premature = 0;
  /** When the peer gave something up first in this sample. */
  #prematureSince = 0;
  /** What the peer waits for now, and the most that it waited for at once in this sample. */
  #awaited = 0;
  #mostAwaited = 0;

  constructor(
    private readonly limits: RapLimits,
    private readonly load: Load,
    /** What is held for the connection. */
    private readonly account: Account,
    private readonly clock: Clock,
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

  /** Takes it in; false where there is no room, and it must be refused. Either way it is there until it has ended. */
  add(incoming: AnyIncoming): boolean {
    if (isAfter(incoming.id, this.lastId)) this.lastId = incoming.id;
    this.#running.set(incoming.id, incoming);
    this.#seen += 1;
    this.#awaited += 1;
    if (this.#awaited > this.#mostAwaited) this.#mostAwaited = this.#awaited;
    this.account.add(incoming.cost);
    const fits = (incoming.kind === 'call' ? this.#addCall() : this.#addChannel()) && !this.account.isFull;
    if (!fits) this.refused += 1;
    return fits;
  }

  /**
   * Gives a channel its slot of the server, which one does not have that waits for the parameters of its function. False
   * where there is none, and it must be refused.
   */
  takeSlot(channel: IncomingChannel): boolean {
    if (channel.hasSlot || this.#running.get(channel.id) !== channel) return true;
    channel.hasSlot = true;
    const fits = this.load.addChannel();
    if (!fits) this.refused += 1;
    return fits;
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
    if (incoming.kind === 'call') return this.load.removeCall();
    this.#channels -= 1;
    if (incoming.hasSlot) this.load.removeChannel();
    incoming.hasSlot = false;
  }

  /** Whether anything came in since the last time this was asked, or runs. */
  wasBusy(): boolean {
    const busy = this.#seen > 0 || this.#running.size > 0;
    this.#seen = 0;
    return busy;
  }

  /**
   * Something is over for the peer. False if it gives up most of what it starts, at once and before it got anything: that
   * costs it nothing, and this side work. A peer may give up all that it waits for, once: its own caller has left.
   */
  settled(startedAt: number, wasted: boolean): boolean {
    this.#awaited -= 1;
    this.#endedCount += 1;
    if (wasted) this.#wasted(startedAt);
    if (this.#endedCount < RESET_SAMPLE) return true;
    const isExcessive = this.#premature > Math.max(this.#endedCount / 2, this.#mostAwaited);
    this.#begin();
    return !isExcessive;
  }

  #begin(): void {
    this.#endedCount = this.#premature = 0;
    this.#mostAwaited = this.#awaited;
  }

  #wasted(startedAt: number): void {
    const now = this.clock.now();
    if (now - startedAt >= PREMATURE_MS) return;
    if (this.#premature > 0 && now - this.#prematureSince >= RESET_WINDOW_MS) {
      this.#begin();
      this.#endedCount = 1;
    }
    if (this.#premature === 0) this.#prematureSince = now;
    this.#premature += 1;
  }

  /** The server drains: handlers that have asked for it are told. */
  drainAll(): void {
    for (const incoming of this.#running.values()) incoming.drain();
  }

  abortAll(reason: Fault): void {
    for (const incoming of this.#running.values()) incoming.abort(reason);
  }
}
