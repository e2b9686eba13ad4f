import { inspect } from 'node:util';
import { isObject, isRecord } from '../../protocol/values/unknown.js';
import { nearestOption } from '../../protocol/values/option-names.js';

/** All keys of an options type: the compiler reports a missing one. */
export type Keys<T> = Record<keyof Required<T>, true>;

/** Options of this package by the names that they have in other libraries. */
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
 * @param what owner of the options, for the message
 * @throws RangeError that names an option which does not exist, and the nearest that does
 */
export function assertKnown(what: string, given: unknown, known: Readonly<Record<string, unknown>>): void {
  assertObject(what, given);
  if (!isObject(given)) return;
  for (const name of Object.keys(given))
    if (!Object.hasOwn(known, name)) throw unknownOption(what, name, known);
}

/** The error for a key that is not an option: it names the nearest option. */
export function unknownOption(
  what: string,
  name: string,
  known: Readonly<Record<string, unknown>>,
): RangeError {
  const before = what.includes(' ') ? '' : `${what}.`;
  const instead =
    INSTEAD.get(name)?.find((each) => Object.hasOwn(known, each.split(' ')[0] ?? '')) ??
    nearestOption(name, known);
  const hint = instead === undefined ? '' : `; did you mean ${before}${instead}?`;
  return new RangeError(`${before || `${what}: `}${name} is not an option${hint}`);
}

/** The address of a server, in options of servers and clients. */
interface Address {
  readonly host?: unknown;
  readonly port?: unknown;
  readonly path?: unknown;
}

/** @throws RangeError if the address is not valid */
export function assertAddress(what: string, { host, port, path }: Address): void {
  for (const [name, value] of Object.entries({ host, path })) {
    if (value !== undefined && (typeof value !== 'string' || value === ''))
      throw new RangeError(`${what}: ${name} must be text, got ${inspect(value)}`);
  }
  // environment variables hold a port as text, and Node accepts it
  const number = typeof port === 'string' && port !== '' ? Number(port) : port;
  const isPort = typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= 65_535;
  if (port !== undefined && !isPort)
    throw new RangeError(`${what}: port must be a whole number from 0 to 65535, got ${inspect(port)}`);
}

/** @throws RangeError unless it is an object or `undefined` */
export function assertObject(name: string, given: unknown): void {
  if (given === undefined || isRecord(given)) return;
  throw new RangeError(`${name} must be an object, got ${inspect(given)}`);
}

/** @throws RangeError unless it is a list or `undefined` */
export function assertList(name: string, given: unknown): void {
  if (given === undefined || Array.isArray(given)) return;
  throw new RangeError(`${name} must be a list, got ${inspect(given)}`);
}
