import { CODE_BY_STATUS, DRAINING_CODE, RUN_TIMEOUT, Status } from '../protocol/status.js';
import { LocalCode } from '../protocol/fault.js';

/** The outcome of what has succeeded. */
export const OK = 'OK';

/** The outcome of what its caller has given up. */
export const CANCELLED = outcomeName(LocalCode.CallCancelled);

/** The outcome of a handler that took too long: of calls, the wire has it as a failure of the function. */
const RUN_TIME = outcomeName(CODE_BY_STATUS[Status.RunTime] as string);

/** Code of an error that is none of rap's. */
const UNKNOWN = 'UNKNOWN';

/** Codes of rap: a peer, or an application, may send others. */
const KNOWN: ReadonlySet<string> = new Set([
  ...Object.values(CODE_BY_STATUS),
  ...Object.values(LocalCode),
  DRAINING_CODE,
]);

/**
 * The short name of an outcome: `OK`, or rap's code of the error without `ERR_RAP_`, such as `CALL_TIMEOUT`. There are some
 * twenty: an error with a code of the application has the name of its status, any other is `UNKNOWN`.
 */
export function outcomeOf(error: unknown): string {
  if (error === undefined) return OK;
  const { code, status, wireStatus = status, remoteName } = (error ?? {}) as Record<string, unknown>;
  if (remoteName === RUN_TIMEOUT) return RUN_TIME;
  if (typeof code === 'string' && KNOWN.has(code)) return outcomeName(code);
  const known = typeof wireStatus === 'number' ? CODE_BY_STATUS[wireStatus] : undefined;
  return known === undefined ? UNKNOWN : outcomeName(known);
}

function outcomeName(code: string): string {
  return code.slice('ERR_RAP_'.length);
}
