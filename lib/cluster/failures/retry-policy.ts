import { type Fault, LocalCode } from '../../protocol/fault.js';
import { isPassing, verdictOf } from './classify.js';

/** Most moves of one call, in a fleet of any size. */
const MAX_MOVES = 16;
/** An attempt with less time is over before it is sent. */
const LEAST_MS = 1;

/** A call whose last attempt has failed. */
export interface FailedCall {
  readonly fault: Fault;
  readonly idempotent: boolean;
  /** Attempts that may have run, without those that have moved. The last one counts if it may have run. */
  readonly attempts: number;
  /** `RetryOptions.maxAttempts`. */
  readonly maxAttempts: number;
  /** How often it has moved. */
  readonly moves: number;
  /** Servers that are listed. */
  readonly servers: number;
  /** Time until the deadline of the call, over all attempts; Infinity without one. */
  readonly remainingMs: number;
}

/** `move`: it has not run; `retry`: it may have run; `no`: the fault is the caller's. */
export type Repeat = 'move' | 'retry' | 'no';

/**
 * Whether a call is repeated. Takes from the budget, if it needs to, when all else permits: a repeat that the server has
 * seen before costs it twice; one that never left does not.
 */
export function mayRepeat(call: FailedCall, budget: { take(): boolean }): Repeat {
  const { fault, idempotent, attempts, maxAttempts, moves, servers, remainingMs } = call;
  // written so that NaN is no
  if (!(remainingMs >= LEAST_MS) || isFinal(fault)) return 'no';
  if (fault.sent === 'no') {
    const mayMove = moves < Math.min(servers + 1, MAX_MOVES);
    return mayMove && (verdictOf(fault) !== 'refused' || budget.take()) ? 'move' : 'no';
  }
  const mayRetry = idempotent && attempts < maxAttempts && isPassing(fault);
  return mayRetry && budget.take() ? 'retry' : 'no';
}

/** Whether nothing of it may be repeated: it was cancelled, thrown on this side, or the server asks for that. */
function isFinal(fault: Fault): boolean {
  if ((fault as { readonly retry?: unknown }).retry === false) return true;
  return fault.code === LocalCode.CallCancelled || 'thrown' in fault;
}

/** What the wait before the next attempt depends on. Times in milliseconds. */
export interface NextAttempt {
  /** Whether its server has had an attempt of this call. */
  readonly isSameServer: boolean;
  /** Attempts so far, moves included. */
  readonly attempts: number;
  readonly remainingMs: number;
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
}

/**
 * How long to wait before the next attempt: not at all at another server; else any time up to a bound that doubles, so that
 * clients do not repeat in step. Leaves half of the remaining time for the attempt.
 *
 * @param random from 0 to 1
 */
export function repeatDelayMs(next: NextAttempt, random: () => number): number {
  if (!next.isSameServer) return 0;
  const bound = Math.min(next.maxDelayMs, next.baseDelayMs * 2 ** (next.attempts - 1));
  return Math.max(0, Math.min(random() * bound, next.remainingMs / 2));
}
