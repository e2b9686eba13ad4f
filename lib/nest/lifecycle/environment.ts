import type { Network } from '../../net/network.js';
import type { SocketLinkOptions } from '../../net/socket-link.js';
import type { Clock } from '../../protocol/clock.js';
import { systemClock } from '../../rpc/time/system-clock.js';

/** A call or channel that a server has taken, until its handler has ended. */
export interface ServedWork {
  readonly kind: 'call' | 'channel';
  readonly header: { readonly target?: unknown };
  /** On the clock. */
  readonly startedAt: number;
  /** Its handler has ended. */
  readonly isOver: boolean;
}

/** What a server or client has around it: time, and where it listens or connects. Tests bring their own. */
export interface Environment extends Pick<SocketLinkOptions, 'intercept'> {
  readonly clock: Clock;
  /** Default: that of the machine. */
  readonly network?: Network | undefined;
  /** Told of each call, event, stream and channel of a server before its handler runs. */
  readonly onWork?: ((work: ServedWork) => void) | undefined;
}

const MACHINE: Environment = { clock: systemClock };
const environments = new WeakMap<object, Environment>();

/** A copy of the options of a server or client that puts it into an environment. */
export function inEnvironment<T extends object>(environment: Environment, options: T): T {
  const copy = { ...options };
  environments.set(copy, environment);
  return copy;
}

/** The environment of a server or client with these options. */
export function environmentOf(options: object): Environment {
  return environments.get(options) ?? MACHINE;
}
