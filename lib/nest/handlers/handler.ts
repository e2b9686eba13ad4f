import { inspect } from 'node:util';
import type { MessageHandler } from '@nestjs/microservices';
import type { ServiceMethod } from '../contract/service-binding.js';
import { nearestName } from '../validation/nearest-name.js';
import type { StandardSchema } from '../validation/standard-schema.js';

/** What a handler may say of itself in the third argument of `@MessagePattern` and `@EventPattern`. */
export interface RapPatternExtras {
  /** Group of the target. Default: that of `@RapGroup` on the class, else `default`. */
  group?: string | undefined;
  /**
   * Only callers on this machine find the function; for others it does not exist. Behind a proxy on this machine everybody is
   * here: see the option `trustLoopback` of `RapServer`.
   */
  private?: boolean | undefined;
  /** Time that the handler has, in milliseconds. Default: the server's `runTimeoutMs`. */
  timeoutMs?: number | undefined;
  /**
   * `channel` for `@ChannelPattern`. Else what the registry tells of it, and `client.controller()` goes by: `stream` for a
   * method that is no generator itself and returns one. How it is answered is found out by what it returns.
   */
  kind?: 'unary' | 'stream' | 'channel' | undefined;
  /** What it is for, in the registry. */
  doc?: string | undefined;
  /** A second call does no harm. For tools that read the registry. */
  idempotent?: boolean | undefined;
  /** What the caller sends must fit this Standard Schema: checked before Nest, and so before guards. A channel's messages, too. */
  input?: StandardSchema | undefined;
  /** What the handler gives must fit this one: a result, or each item. */
  output?: StandardSchema | undefined;
  /** @internal The contract that it fulfils, set by `@RapService`. */
  service?: ServiceMethod | undefined;
  /** @internal `Class.method`, set by the decorators of this package. */
  handlerName?: string | undefined;
  /** @internal The group comes from `@RapGroup`: that of a subclass comes before it. */
  isClassGroup?: boolean | undefined;
  /** Bind it although `bindUntagged` is false. */
  rap?: boolean | undefined;
}

/** Extras that users write. */
const EXTRAS = ['group', 'private', 'timeoutMs', 'kind', 'doc', 'idempotent', 'input', 'output', 'rap'];
const EXTRA_NAMES = EXTRAS.map((name) => ({ name }));

/** What is wrong with the name of an extra, if it differs from one of rap's by a letter or two. Others belong to other libraries. */
export function misspeltExtra(extras: object): string | undefined {
  for (const [name, value] of Object.entries(extras)) {
    if (value === undefined || EXTRAS.includes(name)) continue;
    const near = nearestName(name, EXTRA_NAMES, Math.min(2, Math.floor(name.length / 4)));
    if (near) return `there is no extra ${inspect(name)}; did you mean ${near.name}?`;
  }
  return undefined;
}

/** A handler as others may see it: `authorize`, and whoever reads the registry. */
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

/** A handler and where it is found. */
export interface Route extends RapHandlerInfo {
  /** The pattern as Nest normalises it. */
  readonly pattern: string;
  readonly handler: MessageHandler;
  /** Known to give one value: a contract says so, or its `kind`. */
  readonly isUnary: boolean;
  /** Registered with `@ChannelPattern`, or a contract's channel. */
  readonly isChannel: boolean;
  /** `Class.method`, where a decorator of this package has seen it. */
  readonly owner: string | undefined;
  readonly input: StandardSchema | undefined;
  readonly output: StandardSchema | undefined;
  /** The handlers of an event that has several: each has its own extras. */
  readonly members?: readonly Route[];
  /** What callers on other machines find of an event with several handlers. */
  readonly publicPart?: Route | undefined;
  /** The same route for some of its members only. */
  readonly routeOfSome?: (allowed: readonly Route[]) => Route;
}
