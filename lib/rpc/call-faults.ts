import { Fault, LocalCode } from '../protocol/fault.js';
import { Status } from '../protocol/status.js';

/** The fault of a call that its caller cancelled, on either side. */
export function callCancelled(message: string, cause?: unknown): Fault {
  return new Fault({ status: Status.RpcCall, code: LocalCode.CallCancelled, message, cause });
}
