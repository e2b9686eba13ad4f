import type { IncomingCall } from './incoming-call.js';
import type { IncomingChannel } from './incoming-channel.js';

/** What came in: told apart by its `kind`. */
export type AnyIncoming = IncomingCall | IncomingChannel;
