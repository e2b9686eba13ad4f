import type { ChannelOptions, RapCallOptions } from '../calls/rap-session.js';
import type { RapChannel } from '../../streams/rap-channel.js';
import type { RapIterable } from '../../streams/rap-stream.js';
import type { RapMethodKind } from '../../contract/contract.js';
import { assertItems, type Items, upload } from './upload.js';

/** What proxies need of their client. */
export interface ServiceCaller {
  call<T>(pattern: unknown, data?: unknown, options?: RapCallOptions): Promise<T>;
  stream<T>(pattern: unknown, data?: unknown, options?: RapCallOptions): RapIterable<T>;
  channel<In, Out>(pattern: unknown, options?: ChannelOptions): Promise<RapChannel<In, Out>>;
}

/** A method of a proxy. */
export type MethodCaller = (...args: never[]) => unknown;

/**
 * Makes the function by which a proxy calls a method, once; a call of it costs what `client.call()` costs.
 *
 * @param timeoutMs time limit of the contract; one of the caller takes precedence
 */
export function methodCaller(
  client: ServiceCaller,
  target: string,
  kind: RapMethodKind,
  timeoutMs?: number,
): MethodCaller {
  const withDefaults = defaulter(timeoutMs);
  const callers: Record<RapMethodKind, MethodCaller> = {
    unary:
      timeoutMs === undefined
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

/** Fills in the time limit of the contract. */
function defaulter(timeoutMs: number | undefined): <T extends RapCallOptions>(options?: T) => T | undefined {
  if (timeoutMs === undefined) return (options) => options;
  const defaults = Object.freeze({ timeoutMs });
  return <T extends RapCallOptions>(options?: T) =>
    options ? { ...options, timeoutMs: options.timeoutMs ?? timeoutMs } : (defaults as T);
}
