import type { IncomingCall } from './incoming-call.js';
import type { IncomingChannel } from './incoming-channel.js';

/** Discriminated by `kind`. */
export type AnyIncoming = IncomingCall | IncomingChannel;
