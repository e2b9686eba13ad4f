import type { PooledConnection } from './pooled-connection.js';

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

/** What runs on connections. */
export function countsOf(connections: readonly PooledConnection[]): CallCounts {
  const counts = { inFlight: 0, queued: 0, channels: 0, lateAnswers: 0 };
  for (const each of connections) {
    if (each.state === 'connecting' || each.state === 'closed') continue;
    const { calls, channels, lateAnswers } = each.peer;
    counts.inFlight += calls.inFlight;
    counts.queued += calls.queued;
    counts.channels += channels.size;
    counts.lateAnswers += lateAnswers;
  }
  return counts;
}
