import type { Clock } from '../../protocol/clock.js';
import type { Fault } from '../../protocol/fault.js';
import type { CleanContext } from '../context/async-context.js';
import type { DeadlineQueue } from '../time/deadline-queue.js';
import type { Incoming } from '../server/incoming.js';
import type { IncomingCall } from '../server/incoming-call.js';
import type { IncomingChannel } from '../server/incoming-channel.js';
import type { KeepAliveOptions, RapLimits } from '../limits.js';
import type { Load } from '../load.js';
import type { Peer } from './peer.js';
import type { PendingCall } from '../client/pending-call.js';
import type { Processors } from '../../pipeline/exchange.js';
import type { ConnectionSecurity } from './security.js';

export type Role = 'client' | 'server';

/** What the owner of a connection is told. */
export interface PeerOwner {
  /** DECLARE is done. */
  onOpen(peer: Peer): void;
  /**
   * A call or channel came in, and processors work on it first: its time begins. False where it has none, and is over.
   */
  onArrival?(incoming: Incoming): boolean;
  /** A call came in (servers). Must not throw. */
  onCall(call: IncomingCall): void;
  /** A channel was opened (servers). Must not throw. */
  onChannel(incoming: IncomingChannel): void;
  /** The server drains: start nothing new on this connection (clients). The calls were not sent, and may go elsewhere. */
  onShutdown(peer: Peer, unsent: PendingCall[]): void;
  /** The connection is over. Called once, after everything pending has failed. */
  onClose(peer: Peer, reason: Fault): void;
}

export interface PeerOptions {
  readonly role: Role;
  readonly owner: PeerOwner;
  readonly limits: RapLimits;
  readonly keepAlive: KeepAliveOptions;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  /** That of the server, or of the peer's address there; a client has its own. */
  readonly load?: Load;
  /** What a client tells its server, and each handler sees. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Unique name of the connection, which a server tells its client. */
  readonly connectionId?: string;
  /** What works on each message. */
  readonly processors?: Processors | undefined;
  /** The async context in which the work of each call begins that comes in. */
  readonly context?: CleanContext | undefined;
  /** Takes part in DECLARE and secures what follows. */
  readonly security?: ConnectionSecurity | undefined;
}
