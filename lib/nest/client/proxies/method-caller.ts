import { type ChannelOptions, IDEMPOTENT, type RapCallOptions } from '../calls/rap-session.js';
import type { RapChannel } from '../../streams/rap-channel.js';
import type { RapIterable } from '../../streams/rap-stream.js';
import type { RapMethodKind, RapMethodOptions } from '../../contract/contract.js';
import { assertItems, type Items, upload } from './upload.js';

/** What proxies need of their client. */
export interface ServiceCaller {
  call<T>(pattern: unknown, data?: unknown, options?: RapCallOptions): Promise<T>;
  stream<T>(pattern: unknown, data?: unknown, options?: RapCallOptions): RapIterable<T>;
  channel<In, Out>(pattern: unknown, options?: ChannelOptions): Promise<RapChannel<In, Out>>;
}

/** A method of a proxy. */
export type MethodCaller = (...args: never[]) => unknown;

/** What a contract says about the calls of a method; what the caller passes takes precedence. */
export type CallDefaults = Pick<RapMethodOptions, 'timeoutMs' | 'idempotent'>;

/**
 * Makes the function by which a proxy calls a method, once; a call of it costs what `client.call()` costs.
 */
export function methodCaller(
  client: ServiceCaller,
  target: string,
  kind: RapMethodKind,
  defaults: CallDefaults = {},
): MethodCaller {
  const withDefaults = defaulting(defaults);
  const callers: Record<RapMethodKind, MethodCaller> = {
    unary:
      withDefaults === UNCHANGED
        ? (input: unknown, options?: RapCallOptions) => client.call(target, input, options)
        : (input: unknown, options?: RapCallOptions) => client.call(target, input, withDefaults(options)),
    serverStream: (input: unknown, options?: RapCallOptions) =>
      client.stream(target, input, withDefaults(options)),
    clientStream: async (items: Items<unknown>, options?: ChannelOptions) => {
      assertItems(items, target);
      return upload(await client.channel(target, withDefaults(options)), items, target);
    },
    duplex: (options?: ChannelOptions) => client.channel(target, withDefaults(options)),
  };
  return callers[kind];
}

/** Fills in what the caller of a method has not set. */
type Defaulting = <T extends RapCallOptions>(options?: T) => T | undefined;

const UNCHANGED: Defaulting = (options) => options;

/** What fills in these defaults. */
export function defaulting({ timeoutMs, idempotent }: CallDefaults): Defaulting {
  const defaults = defaultsOf(timeoutMs, idempotent === true);
  if (!defaults) return UNCHANGED;
  return <T extends RapCallOptions>(options?: T) =>
    options ? { ...options, ...missing(defaults, options) } : (defaults as T);
}

function defaultsOf(timeoutMs: number | undefined, idempotent: boolean): RapCallOptions | undefined {
  if (timeoutMs !== undefined) return Object.freeze(idempotent ? { timeoutMs, idempotent } : { timeoutMs });
  return idempotent ? IDEMPOTENT : undefined;
}

/** The defaults of options that the caller has not set. */
function missing(defaults: RapCallOptions, options: RapCallOptions): RapCallOptions {
  return {
    timeoutMs: options.timeoutMs ?? defaults.timeoutMs,
    idempotent: options.idempotent ?? defaults.idempotent,
  };
}
