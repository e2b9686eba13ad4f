import type { Clock } from '../../protocol/clock.js';
import { Fault } from '../../protocol/fault.js';
import { RUN_TIMEOUT, Status } from '../../protocol/status.js';
import type { Expiring } from './deadline-queue.js';
import type { NamedFault } from '../../protocol/wire-error.js';

/** Message of a server of this project when the time of a channel or stream is over. */
export const CHANNEL_TIMEOUT = 'the deadline of the channel is over';

/** The time of a call that has not become a stream is over. */
export function callTimeIsOver(): NamedFault {
  const init = { status: Status.Invoke, message: 'Call slow timeout', remoteName: RUN_TIMEOUT };
  return { fault: new Fault(init), name: RUN_TIMEOUT };
}

/** The time of a stream or channel is over, however it was opened. */
export function channelTimeIsOver(): NamedFault {
  return { fault: new Fault({ status: Status.RunTime, message: CHANNEL_TIMEOUT }), name: 'RunTimeError' };
}

/** Largest difference between the ends of a time on two sides that began it together. */
const SAME_MOMENT_MS = 10;

/**
 * Whether a fault of the peer says that the time of a call or channel is over, and it is over on this side, too. Both
 * measure the time that the caller has set: whichever sees its end first, the caller gets the same error.
 */
export function isOwnTimeout(fault: Fault, { expiresAt }: Expiring, clock: Clock): boolean {
  const isTimeout =
    fault.remoteName === RUN_TIMEOUT ||
    (fault.status === Status.RunTime && fault.message === CHANNEL_TIMEOUT);
  return isTimeout && expiresAt - clock.now() <= SAME_MOMENT_MS;
}
