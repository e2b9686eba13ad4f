import type { HostAndPort } from '../protocol/server-address.js';

/** A server of a fleet, as a resolver lists it. */
export interface ServerAddress extends HostAndPort {
  /** Name that TLS sends and verifies. Default: the host. A resolver that lists IP addresses says the name here. */
  readonly serverName?: string | undefined;
  /** Its share of the calls, relative to the others. Default 1; 0: no calls while others can take them. */
  readonly weight?: number | undefined;
  /** What a resolver knows about it, such as its zone; for balancers that are functions. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
}

/** The weight of a server. What a resolver says may be no weight: a negative one counts as 0, anything else as 1. */
export function weightOf({ weight }: ServerAddress): number {
  if (weight !== undefined && weight < 0) return 0;
  return Number.isFinite(weight) ? (weight as number) : 1;
}
