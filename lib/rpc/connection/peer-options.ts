import type { Clock } from '../../protocol/clock.js';
import type { KeepAliveOptions, RapLimits } from '../limits.js';
import type { Load } from '../load.js';
import type { DeadlineQueue } from '../time/deadline-queue.js';
import type { ConnectionSecurity } from './security.js';

/** Options of both sides of a connection. */
export interface PeerOptions {
  readonly limits: RapLimits;
  readonly keepAlive: KeepAliveOptions;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  /** Takes part in DECLARE and secures what follows. */
  readonly security?: ConnectionSecurity | undefined;
}

/** Options that the client or server half adds. */
export interface SideOptions {
  /** Name of the connection; empty on a client until the server assigns it. */
  readonly id: string;
  /** Empty on a server until the client sends it. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Load that this connection counts towards. */
  readonly load: Load;
  /** Timeout of DECLARE. */
  readonly openMs: number;
  /** Time between two pings. */
  readonly pingIntervalMs: number;
  /** The first correlation id: those of a client are odd, those of a server even. */
  readonly firstId: 3 | 4;
  /** Whether what was not read of a channel still counts when the channel is over: see `ChannelConnection`. */
  readonly keepsUnread: boolean;
  /** Health of a server, 0 to 5, for the answers to pings. */
  readonly mos?: (() => number) | undefined;
}
