import type { Fault } from '../protocol/fault.js';
import { callTimeout } from '../rpc/client/call-timeout.js';
import { TimeLimit } from '../rpc/time/deadline-queue.js';
import type { ConnectOptions } from './connect-attempt.js';
import { type Lease, PooledConnection, type PooledConnectionOwner } from './pooled-connection.js';

/** How long the opening of a lease may take. */
export interface LeaseLimit {
  /** What needs it, in messages. */
  readonly what: string;
  /** The limit as the caller knows it, and what is left of it, in milliseconds. */
  readonly timeoutMs: number;
  readonly leftMs: number;
}

/** Connections to one server that nobody else uses. They do not count towards the pool. */
export class Leases implements PooledConnectionOwner {
  readonly #waiting = new Map<PooledConnection, (result: Lease | Fault) => void>();
  readonly #open = new Set<PooledConnection>();

  constructor(
    private readonly options: ConnectOptions,
    private readonly onEmpty: () => void,
  ) {}

  get size(): number {
    return this.#open.size;
  }

  get isEmpty(): boolean {
    return this.#open.size + this.#waiting.size === 0;
  }

  /** Opens one. @throws Fault if the server cannot be reached, or not in time */
  open(limit: LeaseLimit): Promise<Lease> {
    const { deadlines, where } = this.options;
    return new Promise((resolve, reject) => {
      const connection = new PooledConnection(this.options, this);
      const expiry = new TimeLimit(() => {
        reject(callTimeout({ target: limit.what, timeoutMs: limit.timeoutMs, where }, 'connect'));
        connection.close('it took too long to open');
      });
      deadlines.add(expiry, limit.leftMs);
      this.#waiting.set(connection, (result) => {
        deadlines.remove(expiry);
        if (result instanceof Error) reject(result);
        else resolve(result);
      });
      connection.start();
    });
  }

  all(): PooledConnection[] {
    return [...this.#waiting.keys(), ...this.#open];
  }

  close(reason: string): void {
    for (const each of this.all()) each.close(reason);
  }

  // --- PooledConnectionOwner ----------------------------------------------------------------------------------

  opened(connection: PooledConnection): void {
    const tell = this.#waiting.get(connection);
    this.#waiting.delete(connection);
    this.#open.add(connection);
    tell?.({ peer: connection.peer, release: () => connection.finish() });
  }

  draining(): void {
    // its holder finds out with the next call
  }

  closed(connection: PooledConnection, reason: Fault): void {
    const tell = this.#waiting.get(connection);
    this.#waiting.delete(connection);
    this.#open.delete(connection);
    tell?.(reason);
    if (this.isEmpty) this.onEmpty();
  }

  suspected(): void {
    // it has no other connection to go to
  }

  reported(): void {
    // the connections of the pool are told as well
  }
}
