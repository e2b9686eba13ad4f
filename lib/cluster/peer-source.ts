import type { RapClientOperation } from '../diagnostics/messages.js';
import type { Fault } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import type { CallRequest, ReplySink } from '../rpc/client/call-request.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';
import type { PickedCall } from './balancing/balancer.js';
import type { CallCounts } from './call-counts.js';
import type { Lease } from './pooled-connection.js';

/** State of the connection to a server. */
export type ConnectionStatus = 'disconnected' | 'connecting' | 'connected' | 'reconnecting';

/** Where the calls of a client get the peer that they go to. */
export interface PeerSource {
  /** The server in messages. */
  readonly where: string;
  /** The peer of an open connection, for calls that need not wait; `undefined` if there is none now. */
  readonly peer: ClientPeer | undefined;
  /** Spreads calls over several servers; `undefined` for one server: calls go to `peer`. */
  readonly balanced?: BalancedCalls | undefined;
  /**
   * A peer as soon as there is one.
   *
   * @param what what needs it, in messages
   * @param held the body that waits for it; its size counts
   * @throws Fault `ERR_RAP_CONNECTION_LOST` with `sent: 'no'` if it cannot be had, `ERR_RAP_CALL_TIMEOUT` in phase `connect`
   * if that takes longer than `timeoutMs`
   */
  acquire(what: string, timeoutMs: number, held?: unknown): Promise<ClientPeer>;
  /** A connection for all calls of one caller; `exclusive`: one that nobody else uses. @throws as `acquire` */
  lease(what: string, timeoutMs: number, exclusive: boolean): Promise<PinnedLease>;
  /** A body as it is now, for a call that waits. @throws Fault if it cannot be encoded */
  hold(body: unknown): unknown;
  /** Ends what is open and fails what is pending. A later call connects again. */
  close(reason: string): void;
  /** Lets what is in flight end, then closes. Resolves when it is closed. */
  drain(): Promise<void>;
  counts(): CallCounts;
}

/** A connection that one caller is bound to, and what its calls go through. */
export interface PinnedLease extends Lease {
  /** Counts the calls for their server, and never moves them; `undefined` for one server: calls go to `peer`. */
  readonly balanced?: BalancedCalls | undefined;
}

/** What may go to one server after the other: a call, an event, a channel. */
export interface PlacedRequest extends PickedCall {
  /** The body as it was when the call was made, or the metadata of a channel. */
  readonly held: unknown;
  /** The limit over all attempts as the caller knows it, in milliseconds. */
  readonly timeoutMs: number;
  /** Repeating it does no harm, also if it has run. */
  readonly idempotent: boolean;
  /** Set for what is no call, such as a session: balancers know no target, header or body. */
  readonly isNoCall?: true;
  /** Set for what says nothing about its server: an ejected one is not picked to see whether it is well again. */
  readonly isUnjudged?: true;
}

/** A call, or an event. */
export interface BalancedRequest extends PlacedRequest {
  /** What is left of `timeoutMs`. */
  readonly leftMs: number;
  /** The call as subscribers of the tracing channels see it; `undefined` without them. */
  readonly operation?: RapClientOperation | undefined;
  /** The request as it goes to a peer. `more` adds to its header. */
  to(peer: ClientPeer, where: string, body: unknown, leftMs: number, more?: Header): CallRequest;
}

/** A call that has been started. */
export interface StartedCall {
  /** Whether it may have reached a server. */
  readonly wasSent: boolean;
  /** When its time is over, on the clock. */
  readonly expiresAt: number;
  /** The server that it was sent to last, in messages; `undefined` if there is but one. */
  readonly where?: string | undefined;
  /** The caller does not wait any more. */
  abandon(): void;
}

/** A peer that was picked for a channel. */
export interface Placed {
  readonly peer: ClientPeer;
  readonly where: string;
  /** What was held for it, for this attempt: processors may change theirs. */
  readonly body: unknown;
  /** The server has taken the channel. */
  taken?(): void;
  /** The channel is closed, or was not opened; `fault`: why, if it has failed. */
  ended(fault?: Fault): void;
  /**
   * The server has not taken the channel: a peer at another one, at once or later. Without it, there is but one server.
   *
   * @throws the fault, with the attempts so far, if a handler may have begun, or the channel may not move for another reason
   */
  elsewhere?(fault: Fault): Promise<Placed>;
}

/** Starts calls over several servers. */
export interface BalancedCalls {
  /** Errors go to the sink, which is called exactly once. */
  call(request: BalancedRequest, sink: ReplySink): StartedCall;
  /** Resolves the sink when a server has accepted the event; when it was sent, if that does not confirm. */
  event(request: BalancedRequest, sink: ReplySink): StartedCall;
  /** Picks a peer for a channel as soon as there is one. @throws as {@link PeerSource.acquire} */
  place(request: PlacedRequest): Promise<Placed>;
}
