import type { TlsOptions } from 'node:tls';
import { inspect } from 'node:util';
import type { Deserializer, Serializer } from '@nestjs/microservices';
import {
  DEFAULT_LIMITS,
  type Given,
  type KeepAliveOptions,
  type RapLimits,
  SERVER_KEEP_ALIVE,
} from '../../rpc/limits.js';
import {
  type AdaptiveLimitOptions,
  adaptiveLimitOf,
  DEFAULT_ADAPTIVE_LIMIT,
} from '../../rpc/server/gradient-limit.js';
import {
  assertAddress,
  assertKnown,
  assertList,
  assertObject,
  type Keys,
} from '../validation/known-options.js';
import { assertTime } from '../validation/assert-time.js';
import type { Authorize } from './authorize.js';
import type { RapMiddleware, RapProcessor } from '../../pipeline/api.js';
import type { RapPatternExtras } from '../handlers/handler.js';
import { LIFECYCLE_EVENTS, type LifecycleEvents } from '../lifecycle/lifecycle.js';

export interface RapServerOptions {
  /**
   * Host name or address to listen on; of a name with several addresses, the first alone. Default `localhost`, as Python's rap.
   */
  host?: string | undefined;
  /** TCP port; 0 takes a free one, see `address()`. Default 9000, as Python's rap. */
  port?: number | undefined;
  /** Path of a Unix socket, instead of host and port. A file that a killed process has left there is removed. */
  path?: string | undefined;
  /** TLS options of Node. `requestCert: true` asks clients for certificates: `ctx.peer.tls`. The minimum is TLS 1.2. */
  tls?: TlsOptions | undefined;
  /** Time limit of a handler in milliseconds. Default 9000, as Python's rap. A handler may set its own in its extras. */
  runTimeoutMs?: number | undefined;
  /** Time that `close()` gives to running calls, in milliseconds. Default 9000, as Python's rap. */
  closeTimeoutMs?: number | undefined;
  /** When a silent client is pinged. */
  keepAlive?: Given<KeepAliveOptions> | undefined;
  /** Limits on what a peer can make this server do or hold. */
  limits?: Given<RapLimits> | undefined;
  /**
   * Limits the calls that run at once by how long they take, with Netflix's Gradient2: while they take longer than usual, fewer
   * may run, and the others are refused (429). Streams and channels do not count. `true`: with the defaults. Default false.
   */
  adaptiveLimit?: boolean | Given<AdaptiveLimitOptions> | undefined;
  /** Send name and message of unknown errors to the caller, instead of Nest's "Internal server error". Default false. */
  exposeErrors?: boolean | undefined;
  /**
   * Whether handlers that do not name a transport are served. Default true, as Nest binds them to every microservice. With
   * false only those with an extra of rap are served, such as `{ rap: true }`; a function decides for the others.
   */
  bindUntagged?:
    boolean | ((pattern: unknown, extras: RapPatternExtras & Record<string, unknown>) => boolean) | undefined;
  /**
   * Who may list the functions of this server (`/registry/list`): with `private` callers on this machine, with `public` all
   * callers, with false none. Default `private`, as Python's rap.
   */
  registry?: 'private' | 'public' | false | undefined;
  /**
   * Who may call `/health/check` and `/health/watch`: with `public` all callers, with `private` those on this machine, with false
   * none. Default `public`: those that probe are often on another machine.
   */
  health?: 'private' | 'public' | false | undefined;
  /**
   * Serves `/livez` and `/readyz` over HTTP on this port, for Kubernetes, from before the server listens until it is closed. `host`:
   * default all addresses. Default: no.
   */
  probes?: RapProbesOptions | undefined;
  /**
   * Whether callers over loopback TCP count as on this machine, and may use private functions. Default true, as Python's
   * rap. Set it to false behind a proxy, a tunnel or a container's port mapping on the same machine: all callers that come
   * through it come from loopback. Then only callers over a Unix socket may use private functions.
   */
  trustLoopback?: boolean | undefined;
  /**
   * Decides for each call, event and channel whether the caller may use the function, instead of the rule that private
   * functions are for callers on this machine. If it throws, or returns anything but true, the caller gets the error of an
   * unknown function.
   */
  authorize?: Authorize | undefined;
  /** Around connections, and around the handlers of calls, events and streams; the first outermost. */
  middleware?: readonly RapMiddleware[] | undefined;
  /** Work on each message: requests in this order, responses in reverse. */
  processors?: readonly RapProcessor[] | undefined;
  /**
   * Called around start and stop, awaited in order. An error of `beforeStart` fails the start. Middleware and processors
   * start after `beforeStart`, in order, and stop before `afterStop`, in reverse.
   */
  events?: LifecycleEvents | undefined;
  /**
   * Makes `RapContext.current()` work from the first call on. Default false: from its first use on, or at once if the process has a
   * `RapClient`. It makes calls slower: see docs/logs.md.
   */
  requestContext?: boolean | undefined;
  /** Nest's serializer: gets `{ id, response, isDisposed }`, and its `response` is sent. */
  serializer?: Serializer | undefined;
  /** Nest's deserializer: gets `{ id, pattern, data }`, and its `data` goes to the handler. */
  deserializer?: Deserializer | undefined;
}

/** Where `/livez` and `/readyz` are served. */
export interface RapProbesOptions {
  /** TCP port; 0 takes a free one. */
  port: number;
  /** Host name or address to listen on. Default: all addresses, as the probes of Kubernetes come from its node. */
  host?: string | undefined;
}

const PROBES_OPTIONS: Keys<RapProbesOptions> = { port: true, host: true };
const ACCESS: readonly unknown[] = ['private', 'public', false, undefined];

const SERVER_OPTIONS: Keys<RapServerOptions> = {
  host: true,
  port: true,
  path: true,
  tls: true,
  runTimeoutMs: true,
  closeTimeoutMs: true,
  keepAlive: true,
  limits: true,
  adaptiveLimit: true,
  exposeErrors: true,
  bindUntagged: true,
  registry: true,
  health: true,
  probes: true,
  authorize: true,
  trustLoopback: true,
  middleware: true,
  processors: true,
  events: true,
  requestContext: true,
  serializer: true,
  deserializer: true,
};

const DEFAULT_RUN_TIMEOUT_MS = 9_000;
const DEFAULT_CLOSE_TIMEOUT_MS = 9_000;

/** @throws RangeError that names an option which does not exist, or is not a valid address */
export function assertServerOptions(options: RapServerOptions): void {
  assertKnown('options of RapServer', options, SERVER_OPTIONS);
  assertAddress('options of RapServer', options);
  assertObject('tls', options.tls);
  assertList('middleware', options.middleware);
  assertList('processors', options.processors);
  assertKnown('limits', options.limits, DEFAULT_LIMITS as never);
  assertKnown('keepAlive', options.keepAlive, SERVER_KEEP_ALIVE as never);
  assertKnown('events', options.events, LIFECYCLE_EVENTS);
  assertProbes('probes', options.probes);
  const { health } = options;
  if (!ACCESS.includes(health))
    throw new RangeError(`health must be 'public', 'private' or false, got ${inspect(health)}`);
  assertBoolean('trustLoopback', options.trustLoopback);
  assertBoolean('requestContext', options.requestContext);
}

function assertBoolean(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'boolean')
    throw new RangeError(`${name} must be true or false, got ${inspect(value)}`);
}

/**
 * @param others further options that exist
 * @throws RangeError that names an option which does not exist, or is not a valid address
 */
export function assertProbes(
  name: string,
  probes: RapProbesOptions | undefined,
  others: Readonly<Record<string, true>> = {},
): void {
  assertKnown(name, probes, { ...PROBES_OPTIONS, ...others });
  if (!probes) return;
  if ((probes.port as unknown) === undefined) throw new RangeError(`${name}: port is missing`);
  assertAddress(name, { host: probes.host, port: probes.port });
}

/**
 * The adaptive limit of a server, with defaults filled in; `undefined` if it has none.
 *
 * @throws RangeError that names an option which does not exist or is out of range
 */
export function adaptiveLimitOption({ adaptiveLimit }: RapServerOptions): AdaptiveLimitOptions | undefined {
  if (adaptiveLimit === undefined || adaptiveLimit === false) return undefined;
  if (adaptiveLimit === true) return DEFAULT_ADAPTIVE_LIMIT;
  assertKnown('adaptiveLimit', adaptiveLimit, DEFAULT_ADAPTIVE_LIMIT as never);
  return adaptiveLimitOf(adaptiveLimit);
}

/** The times of a server, with defaults filled in. @throws RangeError that names an option which is not a valid time */
export function timesOf({ runTimeoutMs, closeTimeoutMs }: RapServerOptions): {
  readonly runTimeoutMs: number;
  readonly closeTimeoutMs: number;
} {
  assertTime('runTimeoutMs', runTimeoutMs);
  assertTime('closeTimeoutMs', closeTimeoutMs, true);
  return {
    runTimeoutMs: runTimeoutMs ?? DEFAULT_RUN_TIMEOUT_MS,
    closeTimeoutMs: closeTimeoutMs ?? DEFAULT_CLOSE_TIMEOUT_MS,
  };
}
