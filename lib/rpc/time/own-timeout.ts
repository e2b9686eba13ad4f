import type { Clock } from '../../protocol/clock.js';
import { Fault } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import type { Expiring } from './deadline-queue.js';
import type { NamedFault } from '../../protocol/wire-error.js';

/** What rap's server calls the end of a call's time. */
export const RUN_TIMEOUT = 'RpcRunTimeError';

/** What a server of this project says at the end of a channel's time, or a stream's. */
export const CHANNEL_TIMEOUT = 'the deadline of the channel is over';

/** The time of a call is over that has become no stream. */
export function callTimeIsOver(): NamedFault {
  const init = { status: Status.Invoke, message: 'Call slow timeout', remoteName: RUN_TIMEOUT };
  return { fault: new Fault(init), name: RUN_TIMEOUT };
}

/** The time of a stream or channel is over, however it was opened. */
export function channelTimeIsOver(): NamedFault {
  return { fault: new Fault({ status: Status.RunTime, message: CHANNEL_TIMEOUT }), name: 'RunTimeError' };
}

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
