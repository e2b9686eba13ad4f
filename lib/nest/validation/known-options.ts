import { inspect } from 'node:util';
import { isRecord } from '../../protocol/values/unknown.js';
import { nearestName } from './nearest-name.js';

/** All keys of an options type, so that the compiler knows of one that is missing here. */
export type Keys<T> = Record<keyof Required<T>, true>;

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
  for (const name of Object.keys(given))
    if (!Object.hasOwn(known, name)) throw unknownOption(what, name, known);
}

/** The error for a key that is not an option: it names the nearest option. */
export function unknownOption(
  what: string,
  name: string,
  known: Readonly<Record<string, unknown>>,
): RangeError {
  const names = Object.keys(known).map((each) => ({ name: each }));
  const before = what.includes(' ') ? '' : `${what}.`;
  const near = nearestName(name, names)?.name;
  const instead = INSTEAD.get(name)?.find((each) => Object.hasOwn(known, each.split(' ')[0] ?? '')) ?? near;
  const hint = instead === undefined ? '' : `; did you mean ${before}${instead}?`;
  return new RangeError(`${before || `${what}: `}${name} is not an option${hint}`);
}

/** The address of a server, in options of servers and clients. */
interface Address {
  readonly host?: unknown;
  readonly port?: unknown;
  readonly path?: unknown;
}

/** @throws RangeError for an address that is none */
export function assertAddress(what: string, { host, port, path }: Address): void {
  for (const [name, value] of Object.entries({ host, path })) {
    if (value !== undefined && (typeof value !== 'string' || value === ''))
      throw new RangeError(`${what}: ${name} must be text, got ${inspect(value)}`);
  }
  // a text of digits is what an environment variable holds, and Node takes it
  const number = typeof port === 'string' && port !== '' ? Number(port) : port;
  const isPort = typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= 65_535;
  if (port !== undefined && !isPort)
    throw new RangeError(`${what}: port must be a whole number from 0 to 65535, got ${inspect(port)}`);
}

/** @throws RangeError for what is no object; `undefined` is none */
export function assertObject(name: string, given: unknown): void {
  if (given === undefined || isRecord(given)) return;
  throw new RangeError(`${name} must be an object, got ${inspect(given)}`);
}

/** @throws RangeError for what is no list of objects; `undefined` is none */
export function assertList(name: string, given: unknown): void {
  if (given === undefined || Array.isArray(given)) return;
  throw new RangeError(`${name} must be a list, got ${inspect(given)}`);
}
