import type { Timer } from '../protocol/clock.js';
import type { Fault } from '../protocol/fault.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import type { LoadReport } from '../rpc/connection/load-report.js';
import { type CallCounts, countsOf } from './call-counts.js';
import type { ConnectOptions } from './connect-attempt.js';
import { type LeaseLimit, Leases } from './leases.js';
import { type Lease, PooledConnection, type PooledConnectionOwner } from './pooled-connection.js';

/** How many connections a client keeps to each server. */
export interface PoolOptions {
  /** Connections that are kept open. Default 1. */
  readonly min: number;
  /** Most connections, those of `withConnection(fn, { exclusive: true })` aside. Default 3, as Python's rap. */
  readonly max: number;
  /** Calls and channels in flight on each connection, beyond which one more is opened. Default 100, as Python's rap. */
  readonly callsPerConnection: number;
  /** Age at which a connection is replaced by a new one, in milliseconds: for load balancers that see only connections. Default 0: never. */
  readonly maxConnectionAgeMs: number;
  /** The age varies by up to this share of it, so that connections are not replaced together. Default 0.1. */
  readonly ageJitter: number;
}

export const DEFAULT_POOL: PoolOptions = {
  min: 1,
  max: 3,
  callsPerConnection: 100,
  maxConnectionAgeMs: 0,
  ageJitter: 0.1,
};

/** A pool that needed fewer connections for this long closes one. */
const SHRINK_AFTER_MS = 30_000;
/** A replacement, or a connection beyond the first, that could not be opened is tried again after this time. */
const RETRY_MS = 1_000;

/** How a pool has lost its last usable connection. */
export interface PoolLoss {
  /** The server has announced its shutdown; calls in flight go on. */
  readonly isShutdown: boolean;
  /** The server has said that it ends the connection. */
  readonly isOrderly: boolean;
}

const SHUTDOWN: PoolLoss = { isShutdown: true, isOrderly: true };
/** A connection takes no more calls for a reason of its own, such as used up keys. */
const RETIRED: PoolLoss = { isShutdown: false, isOrderly: true };

/** What a pool tells its endpoint. */
export interface PoolOwner {
  /** The pool can take calls: its first connection is open. */
  usable(): void;
  /** Its last usable connection is gone, or the attempt to open one has failed. */
  unusable(reason: Fault, how: PoolLoss): void;
  /** Whether all of its connections are suspect has changed. */
  suspected(isSuspect: boolean): void;
  reported(report: LoadReport): void;
  /** The last connection that took no new calls any more, or was leased, is closed. */
  drained(): void;
}

/** The connections of a client to one server: opened under load, closed slowly, never closed with calls or bound callers on them. */
export class Pool implements PooledConnectionOwner {
  /** Those that take calls. */
  readonly #open: PooledConnection[] = [];
  readonly #connecting = new Set<PooledConnection>();
  readonly #draining = new Set<PooledConnection>();
  readonly #leases: Leases;
  /** Old connections by those that will replace them. */
  readonly #replaced = new Map<PooledConnection, PooledConnection>();
  /** Most calls in flight since the last check whether to shrink. */
  #peak = 0;
  /** When that is checked next. */
  #shrinkAt = Infinity;
  /** What the owner was told last. */
  #toldUsable = false;
  #toldSuspect = false;
  /** No attempt to open a further connection before this time. */
  #growAt = 0;
  #timer: Timer | undefined;

  constructor(
    private readonly connect: ConnectOptions,
    private readonly options: PoolOptions,
    private readonly owner: PoolOwner,
    private readonly random: () => number,
  ) {
    this.#leases = new Leases(connect, () => this.#tellIfDrained());
  }

  /** Connections that are open, leased and draining ones included. */
  get size(): number {
    return this.#open.length + this.#draining.size + this.#leases.size;
  }

  /** Whether no connection is draining, or leased. */
  get isDrained(): boolean {
    return this.#draining.size === 0 && this.#leases.isEmpty;
  }

  /** Whether a connection takes calls. */
  get isUsable(): boolean {
    return this.#open.length > 0;
  }

  /** Whether an attempt to connect is under way. */
  get isConnecting(): boolean {
    return this.#connecting.size > 0;
  }

  /** Opens the first connection. */
  open(): void {
    if (this.#open.length === 0 && this.#connecting.size === 0) this.#add();
  }

  /** The connection with the fewest calls; `undefined` if none takes calls. `inFlight`: calls on the whole pool. */
  peer(inFlight: number): ClientPeer | undefined {
    const [first] = this.#open;
    if (!first) return undefined;
    if (inFlight > this.#peak) this.#peak = inFlight;
    if (this.#open.length === 1 && inFlight < this.options.callsPerConnection) return first.peer;
    let best = first;
    let fewest = Infinity;
    for (const each of this.#open) {
      const count = each.isSuspect ? Number.MAX_SAFE_INTEGER : each.inFlight;
      if (count < fewest) [best, fewest] = [each, count];
    }
    // one more connection to a server that is silent would not help
    if (fewest >= this.options.callsPerConnection && !best.isSuspect) this.#grow();
    return best.peer;
  }

  /** Opens a connection that nobody else uses. @throws Fault if it cannot be opened */
  lease(limit: LeaseLimit): Promise<Lease> {
    return this.#leases.open(limit);
  }

  /** Binds a caller to the connection of this peer, which is not closed before the lease ends. */
  hold(peer: ClientPeer): Lease {
    const connection = this.#open.find((each) => each.peer === peer);
    return connection?.hold() ?? { peer, release: () => {} }; // it is lost: the next call finds out
  }

  /** Takes calls only of those who are bound to its connections; what is in flight goes on. */
  retire(): void {
    this.#stopTimer();
    for (const each of this.#own()) each.retire();
    this.#tellIfDrained();
  }

  /** Takes no calls at all; what is in flight goes on. */
  finish(): void {
    this.#stopTimer();
    for (const each of this.#own()) each.finish();
    this.#tellIfDrained();
  }

  /** Closes everything at once. */
  close(reason: string): void {
    this.#stopTimer();
    for (const each of this.#own()) each.close(reason);
    this.#leases.close(reason);
  }

  counts(): CallCounts {
    return countsOf([...this.#own(), ...this.#leases.all()]);
  }

  // --- PooledConnectionOwner ----------------------------------------------------------------------------------

  opened(connection: PooledConnection): void {
    this.#connecting.delete(connection);
    this.#open.push(connection);
    connection.agesAt = this.#ageLimit();
    const old = this.#replaced.get(connection);
    this.#replaced.delete(connection);
    if (old?.state === 'open') old.retire();
    this.#fill();
    this.#schedule();
    this.#tell();
  }

  draining(connection: PooledConnection, reason: Fault | undefined): void {
    this.#draining.add(connection);
    this.#forget(connection);
    this.#schedule();
    if (!reason) return;
    if (!connection.endsInOrder) this.open(); // the replacement comes first
    this.#tell(reason, connection.endsInOrder ? SHUTDOWN : RETIRED);
  }

  closed(connection: PooledConnection, reason: Fault): void {
    this.#draining.delete(connection);
    this.#forget(connection);
    this.#replaced.delete(connection);
    const hasFailed = this.#connecting.delete(connection);
    if (hasFailed) this.#growAt = this.connect.clock.now() + RETRY_MS;
    this.#schedule();
    const loss = { isShutdown: false, isOrderly: connection.endsInOrder };
    this.#tell(reason, loss, hasFailed && !this.isConnecting);
    this.#tellIfDrained();
  }

  suspected(): void {
    const isSuspect = this.#open.length > 0 && this.#open.every((each) => each.isSuspect);
    if (isSuspect === this.#toldSuspect) return;
    this.#toldSuspect = isSuspect;
    this.owner.suspected(isSuspect);
  }

  reported(report: LoadReport): void {
    this.owner.reported(report);
  }

  /** Tells the owner what has changed. `again`: an attempt has failed, though it knows that there is no connection. */
  #tell(reason?: Fault, loss?: PoolLoss, again = false): void {
    const isUsable = this.#open.length > 0;
    const hasChanged = isUsable !== this.#toldUsable;
    this.#toldUsable = isUsable;
    if (isUsable && hasChanged) this.owner.usable();
    if (!isUsable && reason && loss && (hasChanged || again)) this.owner.unusable(reason, loss);
    this.suspected();
  }

  // --- growing and shrinking ----------------------------------------------------------------------------------

  #add(replaces?: PooledConnection): void {
    const connection = new PooledConnection(this.connect, this);
    this.#connecting.add(connection);
    if (replaces) this.#replaced.set(connection, replaces);
    connection.start();
  }

  #grow(): void {
    if (this.#open.length + this.#connecting.size >= this.options.max) return;
    if (this.#connecting.size > 0 || this.connect.clock.now() < this.#growAt) return;
    this.#add();
  }

  /** Opens what is missing to `min`. */
  #fill(): void {
    if (this.#open.length + this.#connecting.size < this.options.min) this.#add();
  }

  #forget(connection: PooledConnection): boolean {
    const at = this.#open.indexOf(connection);
    if (at < 0) return false;
    this.#open.splice(at, 1);
    return true;
  }

  #ageLimit(): number {
    const { maxConnectionAgeMs, ageJitter } = this.options;
    if (maxConnectionAgeMs <= 0) return Infinity;
    return this.connect.clock.now() + maxConnectionAgeMs * (1 - ageJitter * this.random());
  }

  /** One timer: for the next connection that ages, and to close what is not needed. */
  #schedule(): void {
    this.#stopTimer();
    const { min } = this.options;
    const count = this.#open.length;
    const now = this.connect.clock.now();
    if (count <= min) this.#shrinkAt = Infinity;
    else if (this.#shrinkAt === Infinity) this.#startWatch(now);
    if (count === 0) return;
    let at = Math.min(this.#shrinkAt, count < min ? now + RETRY_MS : Infinity);
    for (const { agesAt } of this.#open) at = Math.min(at, agesAt);
    if (at === Infinity) return;
    this.#timer = this.connect.clock.after(Math.max(1, at - now), () => this.#tidy());
  }

  #tidy(): void {
    const now = this.connect.clock.now();
    for (const each of this.#open) {
      if (each.agesAt > now) continue;
      each.agesAt = now + RETRY_MS; // in case that the replacement cannot be opened
      if (!this.#isBeingReplaced(each)) this.#add(each);
    }
    if (this.#shrinkAt <= now) this.#shrink(now);
    this.#fill();
    this.#schedule();
  }

  #isBeingReplaced(connection: PooledConnection): boolean {
    for (const old of this.#replaced.values()) if (old === connection) return true;
    return false;
  }

  #startWatch(now: number): void {
    // what runs for long is not picked again
    this.#peak = this.#open.reduce((sum, each) => sum + each.inFlight, 0);
    this.#shrinkAt = now + SHRINK_AFTER_MS;
  }

  #shrink(now: number): void {
    const needed = Math.max(this.options.min, Math.ceil(this.#peak / this.options.callsPerConnection));
    if (this.#open.length > needed) this.#open.findLast((each) => !each.isHeld)?.retire();
    this.#startWatch(now);
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #own(): PooledConnection[] {
    return [...this.#open, ...this.#connecting, ...this.#draining];
  }

  #tellIfDrained(): void {
    if (this.isDrained) this.owner.drained();
  }
}
