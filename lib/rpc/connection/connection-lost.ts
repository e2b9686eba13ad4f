import { Fault, LocalCode } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';

/** The fault of calls pending on a lost connection. */
export function connectionLost(message: string, cause?: unknown, sent: 'no' | 'unknown' = 'unknown'): Fault {
  return new Fault({ status: Status.RpcCall, code: LocalCode.ConnectionLost, message, sent, cause });
}
