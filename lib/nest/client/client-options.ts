import type { ConnectionOptions as TlsConnectionOptions } from 'node:tls';
import type { Deserializer, Serializer } from '@nestjs/microservices';
import type { ServerAddress } from '../../cluster/server-address.js';
import { DEFAULT_RECONNECT, type ReconnectOptions } from '../../cluster/backoff.js';
import {
  CLIENT_KEEP_ALIVE,
  DEFAULT_LIMITS,
  type Given,
  type KeepAliveOptions,
  type RapLimits,
  withDefaults,
} from '../../rpc/limits.js';
import {
  assertAddress,
  assertKnown,
  assertList,
  assertObject,
  type Keys,
} from '../validation/known-options.js';
import {
  assertFleetOptions,
  FLEET_OPTIONS,
  type FleetClientOptions,
  hasFleetOptions,
} from './fleet-options.js';
import type { PerConnection } from './asked-options.js';
import type { Resolver } from '../../cluster/resolver.js';
import { staticResolver, toServerAddress } from '../../cluster/static-resolver.js';
import type { RapProcessor } from '../../pipeline/api.js';
import { LIFECYCLE_EVENTS, type LifecycleEvents } from '../lifecycle/lifecycle.js';

/** A server that a client connects to. */
export interface RapServerAddress {
  /** Host name or address; of a name with several addresses, the first that answers. Default `localhost`, as Python's rap. */
  host?: string | undefined;
  /** TCP port. Default 9000, as Python's rap. */
  port?: number | undefined;
  /** Path of a Unix socket, instead of host and port. */
  path?: string | undefined;
}

const ADDRESS: Keys<RapServerAddress> = { host: true, port: true, path: true };
const LISTED_ADDRESS: Keys<ServerAddress> = {
  ...ADDRESS,
  serverName: true,
  weight: true,
  metadata: true,
};

export interface RapClientOptions extends RapServerAddress, FleetClientOptions {
  /** The servers of the client, which spreads its calls over them. A list of one is a fleet, too. */
  servers?: readonly ServerAddress[] | undefined;
  /**
   * TLS: Node's options, or `true` for its defaults. The server's certificate is verified. A function, sync or async, is called
   * for each connection: for certificates that change. It fails the attempt by an error, or by taking longer than
   * `limits.connectTimeoutMs`.
   */
  tls?: PerConnection<TlsConnectionOptions | true> | undefined;
  /**
   * What this client tells the server when it connects; each handler sees it as `ctx.metadata`. A function is called
   * like that of `tls`: for a token that changes.
   */
  metadata?: PerConnection<Readonly<Record<string, unknown>> | undefined>;
  /** Work on each message: requests in this order, responses in reverse. */
  processors?: readonly RapProcessor[] | undefined;
  /**
   * Called around the first connection and around `close()`, awaited in order. An error of `beforeStart` fails the
   * connection. Processors start after `beforeStart`, in order, and stop before `afterStop`, in reverse.
   */
  events?: LifecycleEvents | undefined;
  /** Time for a call, connecting and queueing included, in milliseconds. Default 10,000. */
  callTimeoutMs?: number | undefined;
  /** How the client reconnects after it lost its server; false: only with the next call. */
  reconnect?: boolean | Given<ReconnectOptions> | undefined;
  /** When a silent server is sent a ping. */
  keepAlive?: Given<KeepAliveOptions> | undefined;
  /** Limits of this client, and of what its server can make it hold. */
  limits?: Given<RapLimits> | undefined;
  /** Nest's serializer: gets `{ pattern, data }`, and its `data` is sent. */
  serializer?: Serializer | undefined;
  /** Nest's deserializer: gets `{ response, isDisposed }`, and its `response` goes to the caller. */
  deserializer?: Deserializer | undefined;
}

const CLIENT_OPTIONS: Keys<RapClientOptions> = {
  ...ADDRESS,
  ...FLEET_OPTIONS,
  servers: true,
  tls: true,
  metadata: true,
  processors: true,
  events: true,
  callTimeoutMs: true,
  reconnect: true,
  keepAlive: true,
  limits: true,
  serializer: true,
  deserializer: true,
};

/** @throws RangeError that names what is not an option, or not an address */
export function assertClientOptions(options: RapClientOptions): void {
  assertKnown('options of RapClient', options, CLIENT_OPTIONS);
  assertAddress('options of RapClient', options);
  const { servers, tls, metadata } = options;
  assertList('servers', servers);
  servers?.forEach((address, i) => {
    assertKnown(`servers[${i}]`, address, LISTED_ADDRESS);
    toServerAddress(`servers[${i}]`, address);
  });
  if (tls !== true && typeof tls !== 'function') assertObject('tls', tls);
  if (typeof metadata !== 'function') assertObject('metadata', metadata);
  assertOneSource(options);
  assertFleetOptions(options);
  assertList('processors', options.processors);
  assertKnown('limits', options.limits, DEFAULT_LIMITS as never);
  assertKnown('keepAlive', options.keepAlive, CLIENT_KEEP_ALIVE as never);
  assertKnown('events', options.events, LIFECYCLE_EVENTS);
  const { reconnect } = options;
  if (typeof reconnect !== 'boolean') assertKnown('reconnect', reconnect, DEFAULT_RECONNECT as never);
}

/** The one server of the options; `undefined` if they describe a fleet, as a list of one server does. */
export function endpointOf(options: RapClientOptions): RapServerAddress | undefined {
  const { servers, host, port, path } = options;
  return servers || hasFleetOptions(options) ? undefined : { host, port, path };
}

/** The servers of a fleet. */
export function resolverOf({ resolver, servers, host, port, path }: RapClientOptions): Resolver {
  return resolver ?? staticResolver(servers ?? [{ host, port, path }]);
}

/** How to reconnect, with defaults filled in; `undefined`: only with the next call. */
export function reconnectOf(reconnect: RapClientOptions['reconnect']): ReconnectOptions | undefined {
  if (reconnect === false) return undefined;
  return withDefaults('reconnect', reconnect === true ? undefined : reconnect, DEFAULT_RECONNECT);
}

/** @throws RangeError if the options name the servers in two ways, or none */
function assertOneSource(options: RapClientOptions): void {
  const { servers, resolver, host, port, path, reconnect } = options;
  const named = [
    servers && 'servers',
    resolver && 'resolver',
    (host ?? port ?? path) !== undefined && 'host, port or path',
  ].filter((each) => typeof each === 'string');
  if (named.length > 1) throw new RangeError(`options of RapClient: give ${named.join(' or ')}, not both`);
  if (servers?.length === 0) throw new RangeError('servers is empty');
  if (reconnect === false && endpointOf(options) === undefined)
    throw new RangeError('reconnect: false is for a client of one server, with host, port or path');
}
