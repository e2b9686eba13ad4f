import type { ClientPeer } from '../rpc/client/client-peer.js';
import type { PooledConnection } from './pooled-connection.js';

/** Counts of the calls of a client now. */
export interface CallCounts {
  /** Open connections. */
  readonly connections: number;
  /** Calls that were sent and not answered. */
  readonly inFlight: number;
  /** Calls that wait to be sent. */
  readonly queued: number;
  /** Open channels. */
  readonly channels: number;
  /** Channels whose messages wait for credit of the server. */
  readonly waitingForCredit: number;
  /** Answers to calls that were abandoned, or never made. */
  readonly lateAnswers: number;
}

/** What runs on connections. */
export function countsOf(connections: readonly PooledConnection[]): CallCounts {
  return sumOf(connections.filter(isOpen).map(({ peer }) => countsOn(peer)));
}

function isOpen({ state }: PooledConnection): boolean {
  return state !== 'connecting' && state !== 'closed';
}

/** What runs on one connection. */
export function countsOn({ calls, channels, lateAnswers }: ClientPeer): CallCounts {
  const { inFlight, queued } = calls;
  const { size, waitingForCredit } = channels;
  return { connections: 1, inFlight, queued, channels: size, waitingForCredit, lateAnswers };
}

export function sumOf(all: Iterable<CallCounts>): CallCounts {
  const sum = { connections: 0, inFlight: 0, queued: 0, channels: 0, waitingForCredit: 0, lateAnswers: 0 };
  for (const each of all)
    for (const name of Object.keys(sum) as (keyof CallCounts)[]) sum[name] += each[name];
  return sum;
}
