import { inspect } from 'node:util';
import { nearestName } from './nearest-name.js';
import type { RapCallOptions } from '../client/calls/rap-session.js';
import type { RapClientOptions, RapServerAddress } from '../client/client-options.js';
import type { RapServerOptions } from '../server/server-options.js';

/** All keys of an options type, so that the compiler knows of one that is missing here. */
export type Keys<T> = Record<keyof Required<T>, true>;

const ADDRESS: Keys<RapServerAddress> = { host: true, port: true, path: true };

export const SERVER_OPTIONS: Keys<RapServerOptions> = {
  ...ADDRESS,
  tls: true,
  runTimeoutMs: true,
  closeTimeoutMs: true,
  keepAlive: true,
  limits: true,
  exposeErrors: true,
  bindUntagged: true,
  registry: true,
  authorize: true,
  trustLoopback: true,
  middleware: true,
  processors: true,
  events: true,
  serializer: true,
  deserializer: true,
};

export const CLIENT_OPTIONS: Keys<RapClientOptions> = {
  ...ADDRESS,
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

export const EVENTS = { beforeStart: true, afterStart: true, beforeStop: true, afterStop: true };

/** Options of other libraries that people look for under these names. */
const INSTEAD: ReadonlyMap<string, readonly string[]> = new Map([
  ['url', ['host and port']],
  ['urls', ['servers', 'host and port']],
  ['uri', ['host and port']],
  ['hostname', ['host']],
  ['address', ['host and port']],
  ['ssl', ['tls']],
  ['tlsOptions', ['tls']],
  ['timeout', ['callTimeoutMs', 'runTimeoutMs', 'timeoutMs']],
  ['socketPath', ['path']],
]);

/**
 * @param what of what they are options, for the message
 * @throws RangeError that names an option which does not exist, and the nearest that does
 */
export function assertKnown(what: string, given: unknown, known: Readonly<Record<string, unknown>>): void {
  assertObject(what, given);
  if (typeof given !== 'object' || given === null) return;
  for (const name of Object.keys(given)) if (!Object.hasOwn(known, name)) throw unknown(what, name, known);
}

/** What a key of the options is called that does not exist. */
function unknown(what: string, name: string, known: Readonly<Record<string, unknown>>): RangeError {
  const names = Object.keys(known).map((each) => ({ name: each }));
  const before = what.includes(' ') ? '' : `${what}.`;
  const near = nearestName(name, names)?.name;
  const instead = INSTEAD.get(name)?.find((each) => Object.hasOwn(known, each.split(' ')[0] ?? '')) ?? near;
  const hint = instead === undefined ? '' : `; did you mean ${before}${instead}?`;
  return new RangeError(`${before || `${what}: `}${name} is not an option${hint}`);
}

/** @throws RangeError for an address that is none */
export function assertAddress(what: string, { host, port, path }: RapServerAddress): void {
  for (const [name, value] of Object.entries({ host, path })) {
    if (value !== undefined && (typeof value !== 'string' || value === ''))
      throw new RangeError(`${what}: ${name} must be text, got ${inspect(value)}`);
  }
  // a text of digits is what an environment variable holds, and Node takes it
  const number: unknown = typeof port === 'string' && port !== '' ? Number(port) : port;
  const isPort = typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= 65_535;
  if (port !== undefined && !isPort)
    throw new RangeError(`${what}: port must be a whole number from 0 to 65535, got ${inspect(port)}`);
}

/** Whether a value may hold options: lists may not. */
export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @throws RangeError for what is no object; `undefined` is none */
export function assertObject(name: string, given: unknown): void {
  if (given === undefined || isObject(given)) return;
  throw new RangeError(`${name} must be an object, got ${inspect(given)}`);
}

/** @throws RangeError for what is no list of objects; `undefined` is none */
export function assertList(name: string, given: unknown): void {
  if (given === undefined || Array.isArray(given)) return;
  throw new RangeError(`${name} must be a list, got ${inspect(given)}`);
}

/** @throws RangeError for an address that is none, or has more in it */
export function assertServerAddress(what: string, address: RapServerAddress): void {
  assertKnown(what, address, ADDRESS);
  assertAddress(what, address);
}

/** Without a prototype: `constructor` is no option. */
const CALL_OPTIONS: Readonly<Record<string, unknown>> = Object.assign(
  Object.create(null) as Record<string, unknown>,
  {
    header: true,
    timeoutMs: true,
    deadline: true,
    signal: true,
    session: true,
    idempotent: true,
    detached: true,
    metadata: true,
  } satisfies Keys<RapCallOptions & { metadata?: unknown }>,
);

/**
 * A call without options does not come here; the keys of one that has some are looked through without making anything.
 *
 * @throws RangeError that names an option which does not exist, and the nearest that does
 */
export function assertCallOptions(options: RapCallOptions): void {
  for (const name in options)
    if (!(name in CALL_OPTIONS)) throw unknown('options of a call', name, CALL_OPTIONS);
}

/** What handlers may say of themselves, and users write. */
const EXTRAS = ['group', 'private', 'timeoutMs', 'kind', 'doc', 'idempotent', 'input', 'output', 'rap'];
const EXTRA_NAMES = EXTRAS.map((name) => ({ name }));

/** An extra that is one of rap's but for a letter or two. Others belong to other libraries. */
export function misspeltExtra(extras: object): string | undefined {
  for (const [name, value] of Object.entries(extras)) {
    if (value === undefined || EXTRAS.includes(name)) continue;
    const near = nearestName(name, EXTRA_NAMES, Math.min(2, Math.floor(name.length / 4)));
    if (near) return `there is no extra ${inspect(name)}; did you mean ${near.name}?`;
  }
  return undefined;
}
