/** A server of a fleet, as a resolver lists it. */
export interface ServerAddress {
  /** Host name or address. Default `localhost`, as Python's rap. */
  readonly host?: string | undefined;
  /** TCP port. Default 9000, as Python's rap. */
  readonly port?: number | undefined;
  /** Path of a Unix socket, instead of host and port. */
  readonly path?: string | undefined;
  /** Name that TLS sends and verifies. Default: the host. A resolver that lists IP addresses says the name here. */
  readonly serverName?: string | undefined;
  /** Its share of the calls, relative to the others. Default 1; 0: no calls while others can take them. */
  readonly weight?: number | undefined;
  /** What a resolver knows about it, such as its zone; for balancers that are functions. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
}

/** The weight of a server; 1 if what a resolver says is no weight. */
export function weightOf({ weight }: ServerAddress): number {
  return weight !== undefined && Number.isFinite(weight) && weight >= 0 ? weight : 1;
}
