import { assertNames, assertOptionsOf } from '../../protocol/values/option-names.js';
import { isRecord } from '../../protocol/values/unknown.js';
import type { PickedCall } from './balancer.js';

/** How many times its share of all calls in flight a server may have: "Consistent Hashing with Bounded Loads", as in HAProxy. */
const DEFAULT_BOUNDED_LOAD = 1.25;

/**
 * What calls are hashed by: the name of a header (as text or `{ header }`), of a property of the body, or a function of the call. A text, a
 * number, a bigint or a boolean is a key; a call with anything else has none, and is spread like the calls of `p2c`. Channels have no body.
 */
export type HashKey =
  | string
  | { readonly header: string }
  | { readonly body: string }
  | ((call: PickedCall) => string | number | undefined);

export interface ConsistentHashOptions {
  readonly key: HashKey;
  /**
   * A server gets no more calls of a key while it has more than this multiple of its share of this client's calls in flight. At least 1;
   * `Infinity` for no bound. Default 1.25, as in "Consistent Hashing with Bounded Loads".
   */
  readonly boundedLoad?: number | undefined;
}

const OPTIONS: Record<keyof Required<ConsistentHashOptions>, true> = { key: true, boundedLoad: true };
const KEYS = { header: true, body: true };

/** What `consistentHash` returns: the option `balancer` of a client. */
export interface ConsistentHashOption {
  readonly kind: 'consistentHash';
  readonly keyOf: (call: PickedCall) => unknown;
  readonly boundedLoad: number;
}

/**
 * The option `balancer` that sends calls with the same key to the same server: `consistentHash({ key: 'tenant' })` by the header `tenant`,
 * `consistentHash({ key: { body: 'userId' } })` by a property of the body. A server that goes or comes moves only its own keys.
 *
 * @throws RangeError if an option is none of those above
 */
export function consistentHash(options: ConsistentHashOptions): ConsistentHashOption {
  assertOptionsOf('consistentHash', options, OPTIONS);
  const { key, boundedLoad = DEFAULT_BOUNDED_LOAD } = options;
  if (typeof boundedLoad !== 'number' || !(boundedLoad >= 1))
    throw new RangeError(
      `boundedLoad of consistentHash() must be a number of at least 1, got ${String(boundedLoad)}`,
    );
  return { kind: 'consistentHash', keyOf: keyReader(key), boundedLoad };
}

function keyReader(key: unknown): (call: PickedCall) => unknown {
  if (typeof key === 'function') return key as (call: PickedCall) => unknown;
  if (isRecord(key)) assertNames('consistentHash.key', key, KEYS);
  const header = isName(key) ? key : nameIn(key, 'header');
  const property = nameIn(key, 'body');
  if (header !== undefined && property === undefined) return (call) => call.header[header];
  if (property !== undefined && header === undefined) return ({ body }) => nested(body, property);
  throw new RangeError(
    'key of consistentHash() must be the name of a header, { header: name }, { body: name } or a function of the call',
  );
}

function nameIn(key: unknown, of: 'header' | 'body'): string | undefined {
  const name = nested(key, of);
  return isName(name) ? name : undefined;
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function nested(value: unknown, property: string): unknown {
  return typeof value === 'object' && value !== null
    ? (value as Record<string, unknown>)[property]
    : undefined;
}
