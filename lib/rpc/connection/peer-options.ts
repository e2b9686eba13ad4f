import type { Clock } from '../../protocol/clock.js';
import type { KeepAliveOptions, RapLimits } from '../limits.js';
import type { Load } from '../load.js';
import type { DeadlineQueue } from '../time/deadline-queue.js';
import type { ConnectionSecurity } from './security.js';

/** What both sides of a connection need. */
export interface PeerOptions {
  readonly limits: RapLimits;
  readonly keepAlive: KeepAliveOptions;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  /** Takes part in DECLARE and secures what follows. */
  readonly security?: ConnectionSecurity | undefined;
}

/** What a half of a connection adds to them. */
export interface SideOptions {
  /** Name of the connection; empty if the other side gives it. */
  readonly id: string;
  /** Empty if the other side tells it. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Load that this connection is a part of. */
  readonly load: Load;
  /** Time for DECLARE. */
  readonly openMs: number;
}
