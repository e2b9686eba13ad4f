import { Fault, LocalCode } from '../../../lib/protocol/fault.js';
import { Status } from '../../../lib/protocol/status.js';
import { connectionLost } from '../../../lib/rpc/connection/connection-lost.js';

/**
 * How an attempt ends, and a call with its last one.
 *
 * - `answered`: with a value
 * - `rejected`: with an error that the function means, as for bad input
 * - `failed`: with a 500
 * - `refused`: with a 429 before the function began
 * - `lost`: the connection was lost meanwhile
 * - `expired`: not in time
 */
export type Outcome = 'answered' | 'rejected' | 'failed' | 'refused' | 'lost' | 'expired';

export const OUTCOMES: readonly Outcome[] = ['answered', 'rejected', 'failed', 'refused', 'lost', 'expired'];

/** What the classes of the package see of an outcome. */
export const FAULTS: Readonly<Record<Exclude<Outcome, 'answered'>, Fault>> = {
  rejected: new Fault({ status: Status.Invoke, message: 'bad input', errorName: 'InvokeError' }),
  failed: new Fault({ status: Status.Server, message: 'the function broke', errorName: 'ServerError' }),
  refused: new Fault({
    status: Status.TooManyRequests,
    message: 'the server takes no more calls',
    errorName: 'TooManyRequestsError',
    sent: 'no',
  }),
  lost: connectionLost('the connection was lost'),
  expired: new Fault({
    status: Status.RunTime,
    code: LocalCode.CallTimeout,
    message: 'the call timed out',
    phase: 'response',
    sent: 'unknown',
  }),
};
