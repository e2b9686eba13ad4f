import type { Clock } from '../protocol/clock.js';
import type { Fault } from '../protocol/fault.js';
import { Status } from '../protocol/status.js';
import type { Expiring } from './deadline-queue.js';

/** Two clocks that were started together end a time together, give or take so much. */
const SAME_MOMENT_MS = 10;

/**
 * Whether a fault of the peer says that the time of a call or channel is over, and that is so on this side, too. Both
 * keep the time that the caller has set: whichever sees its end first, the caller is told the same.
 */
export function isOwnTimeout({ remoteName, status }: Fault, { expiresAt }: Expiring, clock: Clock): boolean {
  // a call is ended in the words of its run timeout, a channel with a status
  const isTimeout = remoteName === 'RpcRunTimeError' || status === Status.RunTime;
  return isTimeout && expiresAt - clock.now() <= SAME_MOMENT_MS;
}
