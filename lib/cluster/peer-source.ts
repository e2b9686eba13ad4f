import type { ClientPeer } from '../rpc/client/client-peer.js';

/** State of the connection to a server. */
export type ConnectionStatus = 'disconnected' | 'connecting' | 'connected' | 'reconnecting';

/** Counts of the calls of a client now. */
export interface CallCounts {
  /** Calls that were sent and not answered. */
  readonly inFlight: number;
  /** Calls that wait to be sent. */
  readonly queued: number;
  /** Open channels. */
  readonly channels: number;
  /** Answers to calls that were abandoned, or never made. */
  readonly lateAnswers: number;
}

/** Where the calls of a client get the peer that they go to. */
export interface PeerSource {
  /** The server in messages. */
  readonly where: string;
  /** The peer of an open connection, for calls that need not wait; `undefined` if there is none now. */
  readonly peer: ClientPeer | undefined;
  /**
   * A peer as soon as there is one.
   *
   * @param what what needs it, in messages
   * @param held the body that waits for it; its size counts
   * @throws Fault `ERR_RAP_CONNECTION_LOST` with `sent: 'no'` if it cannot be had, `ERR_RAP_CALL_TIMEOUT` in phase `connect`
   * if that takes longer than `timeoutMs`
   */
  acquire(what: string, timeoutMs: number, held?: unknown): Promise<ClientPeer>;
  /** A body as it is now, for a call that waits. @throws Fault if it cannot be encoded */
  hold(body: unknown): unknown;
  /** Ends what is open and fails what is pending. A later call connects again. */
  close(reason: string): void;
  /** Lets what is in flight end, then closes. Resolves when it is closed. */
  drain(): Promise<void>;
  counts(): CallCounts;
}
