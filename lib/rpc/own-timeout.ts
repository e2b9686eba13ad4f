import type { Clock } from '../protocol/clock.js';
import type { Fault } from '../protocol/fault.js';
import { Status } from '../protocol/status.js';
import type { Expiring } from './deadline-queue.js';

/** What rap's server calls the end of a call's time. */
export const RUN_TIMEOUT = 'RpcRunTimeError';

/** What a server of this project says at the end of a channel's time. */
export const CHANNEL_TIMEOUT = 'the deadline of the channel is over';

/** Two clocks that were started together end a time together, give or take so much. */
const SAME_MOMENT_MS = 10;

/**
 * Whether a fault of the peer says that the time of a call or channel is over, and that is so on this side, too. Both
 * keep the time that the caller has set: whichever sees its end first, the caller is told the same.
 */
export function isOwnTimeout(fault: Fault, { expiresAt }: Expiring, clock: Clock): boolean {
  const isTimeout =
    fault.remoteName === RUN_TIMEOUT ||
    (fault.status === Status.RunTime && fault.message === CHANNEL_TIMEOUT);
  return isTimeout && expiresAt - clock.now() <= SAME_MOMENT_MS;
}
