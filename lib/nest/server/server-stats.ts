import type { LoadMeter } from '../../rpc/server/load-meter.js';

/** What a server does now, and what it has refused since the start. */
export interface RapServerStats {
  /** Open connections. */
  readonly connections: number;
  /** Calls, events, streams and channels whose handlers run. */
  readonly inFlight: number;
  /** Those of them that were opened as streams or channels. */
  readonly channels: number;
  /** Calls and channels that were refused (429) since the start: limits, overload, shutdown. */
  readonly refusedCalls: number;
  readonly refusedConnections: number;
  /** It takes no new work: `drain()` or `close()` has begun, and it does not listen again yet. */
  readonly draining: boolean;
  /** Calls and channels that were refused because the server was overloaded, by reason. */
  readonly refusedByLoad: {
    /** `limits.maxLoopDelayMs`. */
    readonly loopDelay: number;
    /** The option `adaptiveLimit`. */
    readonly adaptiveLimit: number;
  };
  /** Share of the calls and channels that were refused in the last second or so, 0 to 1, whatever the limit. */
  readonly refusedShare: number;
  /** Median delay of the event loop in the last second, in milliseconds; 0 if there were no calls. */
  readonly loopDelayMs: number;
  /** Time that recent calls took, in milliseconds, of a sample of them; 0 until one has ended. */
  readonly latencyMs: number;
  /** Calls that may run at once by the option `adaptiveLimit`; `undefined` without it. */
  readonly adaptiveLimit: number | undefined;
}

type LoadStats = Pick<
  RapServerStats,
  'refusedByLoad' | 'refusedShare' | 'loopDelayMs' | 'latencyMs' | 'adaptiveLimit'
>;

/** What is known of the load. */
export function statsOf(meter: LoadMeter): LoadStats {
  return {
    refusedByLoad: { loopDelay: meter.refusedByLoopDelay, adaptiveLimit: meter.refusedByAdaptiveLimit },
    refusedShare: meter.refusedShare,
    loopDelayMs: meter.loopDelayMs,
    latencyMs: meter.latencyMs ?? 0,
    adaptiveLimit: meter.adaptiveLimit,
  };
}
