import type { TlsOptions } from 'node:tls';
import { inspect } from 'node:util';
import type { Deserializer, Serializer } from '@nestjs/microservices';
import type { KeepAliveOptions, RapLimits } from '../rpc/limits.js';
import type { Authorize } from './authorize.js';
import type { RapMiddleware, RapProcessor } from '../rpc/pipeline.js';
import type { RapPatternExtras } from './handler-registry.js';
import type { LifecycleEvents } from './lifecycle.js';

export interface RapServerOptions {
  /** Host name or address to listen on. Default `localhost`, as Python's rap. */
  host?: string;
  /** TCP port; 0 takes a free one, see `address()`. Default 9000, as Python's rap. */
  port?: number;
  /** Path of a Unix socket, instead of host and port. */
  path?: string;
  /** TLS options of Node. `requestCert: true` asks clients for certificates: `ctx.peer.tls`. TLS 1.2 is the least. */
  tls?: TlsOptions;
  /** Time that a handler has, in milliseconds. Default 9000, rap's own. A handler may set its own in its extras. */
  runTimeoutMs?: number;
  /** Time that `close()` gives to calls that run, in milliseconds. Default 9000, rap's own. */
  closeTimeoutMs?: number;
  /** When a silent client is asked for a sign of life. */
  keepAlive?: Partial<KeepAliveOptions>;
  /** What a peer can make this server do or hold. */
  limits?: Partial<RapLimits>;
  /** Send name and message of unknown errors to the caller, instead of Nest's "Internal server error". Default false. */
  exposeErrors?: boolean;
  /**
   * Whether handlers that name no transport are served. Default true, as Nest binds them to every microservice. With
   * false only those are whose extras hold a key of rap's, such as `{ rap: true }`; a function decides for the others.
   */
  bindUntagged?:
    boolean | ((pattern: unknown, extras: RapPatternExtras & Record<string, unknown>) => boolean);
  /**
   * Who may list the functions of this server (`/registry/list`): `private` callers on this machine, `public` all, false
   * nobody. Default `private`, as Python's rap.
   */
  registry?: 'private' | 'public' | false;
  /**
   * Decides for each call, event and channel whether the caller finds the function, instead of the rule that private ones
   * are for callers on this machine. Unless it says true, or where it throws, the caller gets what an unknown function gets.
   */
  authorize?: Authorize;
  /** Around connections and around unary calls, the first outermost. */
  middleware?: readonly RapMiddleware[];
  /** Work on each message: requests in this order, responses in reverse. */
  processors?: readonly RapProcessor[];
  /**
   * Called around start and stop, awaited in order. An error of `beforeStart` fails the start. Middleware and processors
   * start after `beforeStart`, in order, and stop before `afterStop`, in reverse.
   */
  events?: LifecycleEvents;
  /** Nest's serializer: gets `{ id, response, isDisposed }`, and its `response` is sent. */
  serializer?: Serializer;
  /** Nest's deserializer: gets `{ id, pattern, data }`, and its `data` goes to the handler. */
  deserializer?: Deserializer;
}

const DEFAULT_RUN_TIMEOUT_MS = 9_000;
const DEFAULT_CLOSE_TIMEOUT_MS = 9_000;

/** The times of a server, with defaults filled in. @throws RangeError that names the option where one is no time */
export function timesOf({ runTimeoutMs, closeTimeoutMs }: RapServerOptions): {
  readonly runTimeoutMs: number;
  readonly closeTimeoutMs: number;
} {
  assertTime('runTimeoutMs', runTimeoutMs, 'above 0', (ms) => ms > 0);
  assertTime('closeTimeoutMs', closeTimeoutMs, 'of at least 0', (ms) => ms >= 0);
  return {
    runTimeoutMs: runTimeoutMs ?? DEFAULT_RUN_TIMEOUT_MS,
    closeTimeoutMs: closeTimeoutMs ?? DEFAULT_CLOSE_TIMEOUT_MS,
  };
}

function assertTime(name: string, given: unknown, range: string, isRight: (ms: number) => boolean): void {
  if (given === undefined || (typeof given === 'number' && isRight(given))) return;
  throw new RangeError(`${name} must be a number ${range}, got ${inspect(given)}`);
}
