import { Fault, LocalCode } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import type { CallRequest } from './call-request.js';

/** What the error of a timed-out call contains. */
export type CallTiming = Pick<CallRequest, 'target' | 'timeoutMs' | 'where'>;

/** The fault of a call that timed out. */
export function callTimeout(
  { target, timeoutMs, where }: CallTiming,
  phase: 'connect' | 'queue' | 'response',
  cause?: unknown,
): Fault {
  if (timeoutMs <= 0) return deadlineOver(target, timeoutMs, cause);
  const waited = { connect: 'a connection to', queue: 'a free slot of', response: 'the answer of' }[phase];
  return new Fault({
    status: Status.RunTime,
    code: LocalCode.CallTimeout,
    message: `${target} timed out after ${timeoutMs} ms, waiting for ${waited} ${where ?? 'the server'}`,
    phase,
    sent: phase === 'response' ? 'unknown' : 'no',
    cause,
  });
}

/** The fault of a call that was not started, since its deadline had passed. */
function deadlineOver(target: string, timeoutMs: number, cause: unknown): Fault {
  const since = timeoutMs < 0 ? `${-timeoutMs} ms before the call` : 'when the call was made';
  return new Fault({
    status: Status.RunTime,
    code: LocalCode.CallTimeout,
    message: `${target} was not called: its deadline was over ${since}`,
    phase: 'connect',
    sent: 'no',
    cause,
  });
}
