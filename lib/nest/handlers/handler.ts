import { inspect } from 'node:util';
import type { MessageHandler } from '@nestjs/microservices';
import type { ServiceMethod } from '../contract/service-binding.js';
import { nearestName } from '../../protocol/values/nearest-name.js';
import type { StandardSchema } from '../validation/standard-schema.js';

/** Options of a handler, in the third argument of `@MessagePattern` and `@EventPattern`. */
export interface RapPatternExtras {
  /** Group of the target. Default: that of `@RapGroup` on the class, else `default`. */
  group?: string | undefined;
  /**
   * Only callers on this machine may use the function; for others it does not exist. Callers behind a proxy on this machine
   * count as local: see the option `trustLoopback` of `RapServer`.
   */
  private?: boolean | undefined;
  /** Time limit of the handler in milliseconds. Default: the server's `runTimeoutMs`. */
  timeoutMs?: number | undefined;
  /**
   * `channel` for `@ChannelPattern`. Else it is for the registry and `client.controller()`: `stream` for a method that
   * returns a stream and is not itself a generator. What it returns decides how the call is answered.
   */
  kind?: 'unary' | 'stream' | 'channel' | undefined;
  /** Description for the registry. */
  doc?: string | undefined;
  /** It is safe to call twice: `client.controller()` repeats its calls after a failure, if the client has several servers. */
  idempotent?: boolean | undefined;
  /** Standard Schema of what the caller sends, also of the messages of a channel. Checked before guards run. */
  input?: StandardSchema | undefined;
  /** Standard Schema of the result, or of each item. */
  output?: StandardSchema | undefined;
  /** @internal The contract that it implements, set by `@RapService`. */
  service?: ServiceMethod | undefined;
  /** @internal `Class.method`, set by the decorators of this package. */
  handlerName?: string | undefined;
  /** @internal The group comes from `@RapGroup`: that of a subclass overrides it. */
  isClassGroup?: boolean | undefined;
  /** Bind it even if `bindUntagged` is false. */
  rap?: boolean | undefined;
}

/** The public extras. */
const EXTRAS = ['group', 'private', 'timeoutMs', 'kind', 'doc', 'idempotent', 'input', 'output', 'rap'];
const EXTRA_NAMES = EXTRAS.map((name) => ({ name }));

/** The problem of an extra whose name differs from one of rap's by a letter or two. Others belong to other libraries. */
export function misspeltExtra(extras: object): string | undefined {
  for (const [name, value] of Object.entries(extras)) {
    if (value === undefined || EXTRAS.includes(name)) continue;
    const near = nearestName(name, EXTRA_NAMES, Math.min(2, Math.floor(name.length / 4)));
    if (near) return `there is no extra ${inspect(name)}; did you mean ${near.name}?`;
  }
  return undefined;
}

/** A handler as `authorize` and readers of the registry see it. */
export interface RapHandlerInfo {
  /** `/<group>/<name>` */
  readonly target: string;
  readonly group: string;
  readonly name: string;
  readonly kind: 'unary' | 'stream' | 'channel' | 'event';
  readonly isPrivate: boolean;
  readonly timeoutMs: number | undefined;
  readonly idempotent: boolean;
  readonly doc: string;
}

/** A handler and its target. */
export interface Route extends RapHandlerInfo {
  /** The pattern, normalised by Nest. */
  readonly pattern: string;
  readonly handler: MessageHandler;
  /** Known to return one value: a contract says so, or its `kind`. */
  readonly isUnary: boolean;
  /** Registered with `@ChannelPattern`, or a contract's channel. */
  readonly isChannel: boolean;
  /** `Class.method`, if a decorator of this package has set it. */
  readonly owner: string | undefined;
  readonly input: StandardSchema | undefined;
  readonly output: StandardSchema | undefined;
  /** The handlers of an event that has several: each has its own extras. */
  readonly members?: readonly Route[];
  /** The handlers of an event that callers on other machines may use. */
  readonly publicPart?: Route | undefined;
  /** The same route with only some of its members. */
  readonly routeOfSome?: (allowed: readonly Route[]) => Route;
}
