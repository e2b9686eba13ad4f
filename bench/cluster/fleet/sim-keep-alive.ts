import { KeepAlive, type KeepAliveTarget } from '../../../lib/rpc/connection/keep-alive.js';
import type { PingSink } from '../../../lib/rpc/connection/pings.js';
import { CLIENT_KEEP_ALIVE } from '../../../lib/rpc/limits.js';
import type { Clock } from '../../../lib/protocol/clock.js';

/** What a connection is asked for, and told, to keep it alive. */
export interface Pinged {
  readonly traffic: { readonly inFlight: number };
  sendPing(): void;
  suspected(isSuspect: boolean): void;
  /** The server was silent for too long. */
  silent(): void;
}

/** The keep-alive of the package for a connection of the simulation. */
export class SimKeepAlive implements KeepAliveTarget {
  readonly makesCalls = true;
  readonly #keepAlive: KeepAlive;
  #sinks: PingSink[] = [];

  constructor(
    private readonly connection: Pinged,
    private readonly clock: Clock,
    random: () => number,
  ) {
    this.#keepAlive = new KeepAlive(this, CLIENT_KEEP_ALIVE, clock);
    this.#keepAlive.start(CLIENT_KEEP_ALIVE.intervalMs * (0.9 + 0.2 * random()));
  }

  /** A call is sent. */
  used(): void {
    this.#keepAlive.used(this.clock.now());
  }

  /** Anything came back. */
  heard(): void {
    this.#keepAlive.heard();
  }

  /** The answer to a ping came back. */
  ponged(): void {
    this.#keepAlive.heard();
    const sinks = this.#sinks;
    this.#sinks = [];
    for (const sink of sinks) sink.resolve();
  }

  stop(): void {
    this.#keepAlive.stop();
  }

  // --- asked and told by it -----------------------------------------------------------------------------------

  ping(sink?: PingSink): void {
    if (sink) this.#sinks.push(sink);
    this.connection.sendPing();
  }

  lost(): void {
    this.connection.silent();
  }

  suspected(isSuspect: boolean): void {
    this.connection.suspected(isSuspect);
  }

  hasCallsInFlight(): boolean {
    return this.connection.traffic.inFlight > 0;
  }

  isBusy(): boolean {
    return true;
  }

  isReadingPaused(): boolean {
    return false;
  }

  hasChannels(): boolean {
    return false;
  }

  idle(): void {
    // a client closes no connection for want of calls
  }
}
