import type { Fault } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import { verdictOf } from '../../rpc/call-faults.js';

export { verdictOf, type Verdict } from '../../rpc/call-faults.js';

/** Whether a failure is an answer of the server, which is not lost, nor late: its 500. */
export function isServerError({ status, sent }: Fault): boolean {
  return status === Status.Server && sent === undefined;
}

/** Whether a call that may have run can be expected to succeed if it is repeated: errors of the function would come again. */
export function isPassing(fault: Fault): boolean {
  const verdict = verdictOf(fault);
  return verdict === 'failed' || verdict === 'refused';
}
