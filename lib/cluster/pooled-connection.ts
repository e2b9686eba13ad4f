import type { Fault } from '../protocol/fault.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import type { PendingCall } from '../rpc/client/pending-call.js';
import { connectionLost } from '../rpc/connection/connection-lost.js';
import type { LoadReport } from '../rpc/connection/load-report.js';
import { type AttemptOwner, ConnectAttempt, type ConnectOptions, unreachable } from './connect-attempt.js';

/** A connection that one caller is bound to. */
export interface Lease {
  readonly peer: ClientPeer;
  /** Ends the lease. An exclusive connection closes when its calls have ended. May be called twice. */
  release(): void;
}

/** What a pooled connection tells its pool. */
export interface PooledConnectionOwner {
  opened(connection: PooledConnection): void;
  /** It takes no new calls, those in flight go on. `reason`: why; `undefined` if the pool has ended it. */
  draining(connection: PooledConnection, reason: Fault | undefined): void;
  /** It is closed, or could not be opened. */
  closed(connection: PooledConnection, reason: Fault): void;
  suspected(): void;
  reported(report: LoadReport): void;
}

/** One connection of a pool, from its attempt to its end. It never reconnects: the pool opens another. */
export class PooledConnection implements AttemptOwner {
  state: 'connecting' | 'open' | 'draining' | 'closed' = 'connecting';
  /** The server is silent while calls are in flight. */
  isSuspect = false;
  /** When it is replaced, on the clock of the pool. */
  agesAt = Infinity;
  /** Callers that are bound to it. */
  #holders = 0;
  readonly #attempt: ConnectAttempt;

  constructor(
    private readonly options: ConnectOptions,
    private readonly owner: PooledConnectionOwner,
  ) {
    this.#attempt = new ConnectAttempt(options, this);
  }

  start(): void {
    void this.#attempt.start();
  }

  /** @throws TypeError before it is open */
  get peer(): ClientPeer {
    const { peer } = this.#attempt;
    if (!peer) throw new TypeError('the connection is not open');
    return peer;
  }

  /** The server has said that it ends the connection, so that nothing is wrong with it. */
  get endsInOrder(): boolean {
    return this.#attempt.peer?.endsInOrder === true;
  }

  /** Calls and channels on it. */
  get inFlight(): number {
    const { calls, channels } = this.peer;
    return calls.inFlight + calls.queued + channels.size;
  }

  /** Whether callers are bound to it: a session, or code inside of `withConnection`. */
  get isHeld(): boolean {
    return this.#holders > 0;
  }

  /** Binds a caller to it, until the lease ends. */
  hold(): Lease {
    this.#holders += 1;
    let isReleased = false;
    const release = (): void => {
      if (isReleased) return;
      isReleased = true;
      this.#holders -= 1;
      if (this.state === 'draining') this.#finishIfFree();
    };
    return { peer: this.peer, release };
  }

  /** Takes calls only of those who are bound to it, and closes when these have gone and what is in flight has ended. */
  retire(): void {
    if (this.state === 'connecting') return this.close('it is not needed any more');
    if (this.state !== 'open') return;
    this.state = 'draining';
    this.owner.draining(this, undefined);
    this.#finishIfFree();
  }

  /** Takes no calls at all, and closes when those in flight have ended. */
  finish(): void {
    this.retire();
    if (this.state === 'draining') this.peer.finish();
  }

  #finishIfFree(): void {
    if (this.#holders === 0) this.peer.finish();
  }

  /** Closes it at once; what is pending fails. */
  close(reason: string): void {
    const wasReached = this.#attempt.peer !== undefined;
    this.#attempt.cancel(reason);
    // without a peer, nothing else tells of the end
    if (!wasReached) this.#over(connectionLost(`${this.options.where}: ${reason}`, undefined, 'no'));
  }

  onUnreachable(_attempt: ConnectAttempt, cause: unknown): void {
    this.#over(connectionLost(unreachable(this.options.where, cause), cause, 'no'));
  }

  // --- ClientOwner --------------------------------------------------------------------------------------------

  onOpen(): void {
    if (this.state !== 'connecting') return;
    this.state = 'open';
    this.owner.opened(this);
  }

  onShutdown(_peer: ClientPeer, unsent: PendingCall[]): void {
    const { where } = this.options;
    const message = this.endsInOrder
      ? `${where} shuts down`
      : `the connection to ${where} takes no more calls`;
    const reason = connectionLost(message, undefined, 'no');
    if (this.state === 'open') {
      this.state = 'draining';
      this.owner.draining(this, reason);
    }
    for (const call of unsent) call.reject(reason); // it goes to another server
  }

  onClose(_peer: ClientPeer, reason: Fault): void {
    if (this.state !== 'connecting') return this.#over(reason);
    this.#over(connectionLost(unreachable(this.options.where, reason), reason.cause ?? reason, 'no'));
  }

  onSuspect(_peer: ClientPeer, isSuspect: boolean): void {
    this.isSuspect = isSuspect;
    this.owner.suspected();
  }

  onLoad(_peer: ClientPeer, report: LoadReport): void {
    this.owner.reported(report);
  }

  #over(reason: Fault): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.owner.closed(this, reason);
  }
}
