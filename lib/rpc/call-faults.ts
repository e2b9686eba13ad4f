import { Fault, LocalCode } from '../protocol/fault.js';
import { RUN_TIMEOUT, Status } from '../protocol/status.js';

/** The fault of a call that its caller cancelled, on either side. */
export function callCancelled(message: string, cause?: unknown): Fault {
  return new Fault({ status: Status.RpcCall, code: LocalCode.CallCancelled, message, cause });
}

/**
 * What the end of a call says about its server: `answered` is well, an error of the function included; `failed` is lost, late
 * or broken; `refused` did not take the call; `ignored` says nothing.
 */
export type Verdict = 'answered' | 'failed' | 'refused' | 'ignored';

/** What of a fault, or of the public error made of it, its verdict depends on. */
export type JudgedFault = Readonly<Partial<Record<keyof Fault, unknown>>>;

/** Codes that say that the call never came to the server, on faults of this side. */
const OWN_CODES: ReadonlySet<unknown> = new Set([
  LocalCode.CallCancelled,
  LocalCode.Overload,
  'ERR_RAP_UNSERIALIZABLE',
  'ERR_RAP_FRAME_TOO_LARGE',
]);

/** What an error says about the server that was called. */
export function verdictOf(fault: JudgedFault): Verdict {
  const { status, sent, phase, errorName, remoteName } = fault;
  if (isOwnFault(fault)) return 'ignored';
  if (status === Status.TooManyRequests) return 'refused';
  if (sent === 'no') return errorName === undefined ? 'ignored' : 'refused';
  if (sent === 'unknown' || phase === 'response') return 'failed';
  if (phase !== undefined) return 'ignored';
  const isFailure = status === Status.Server || status === Status.RunTime || remoteName === RUN_TIMEOUT;
  return isFailure ? 'failed' : 'answered';
}

/**
 * Whether this side has made the fault before, or instead of, sending. A handler that calls others passes on such codes as
 * its own answer, which has the name of a class; what a processor of this side has thrown (`ThrownFault`) has `thrown`.
 */
export function isOwnFault(fault: JudgedFault): boolean {
  return (fault.errorName === undefined && OWN_CODES.has(fault.code)) || 'thrown' in fault;
}
