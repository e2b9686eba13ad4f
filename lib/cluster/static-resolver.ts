import { inspect } from 'node:util';
import { assertNames } from '../protocol/values/option-names.js';
import { addressText } from '../protocol/server-address.js';
import { isRecord } from '../protocol/values/unknown.js';
import type { Resolver } from './resolver.js';
import type { ServerAddress } from './server-address.js';

const KEYS: Readonly<Record<keyof Required<ServerAddress>, true>> = {
  host: true,
  port: true,
  path: true,
  serverName: true,
  weight: true,
  metadata: true,
};

/**
 * A resolver with a list that never changes; `servers` of a client does the same.
 *
 * @throws RangeError that names what is wrong, such as `servers[2].weight`: a weight that is not a finite number of at least 0,
 * an address that is not valid, or is there twice, a list without servers
 */
export function staticResolver(servers: readonly ServerAddress[]): Resolver {
  const list = Object.freeze(checkedList(servers));
  return {
    name: namesOf(list),
    watch(listener) {
      listener(list);
      return () => {};
    },
  };
}

function namesOf(list: readonly ServerAddress[]): string {
  const shown = list.slice(0, 3).map(addressText);
  return list.length > 3 ? `${shown.join(', ')} and ${list.length - 3} more` : shown.join(', ');
}

function checkedList(servers: unknown): ServerAddress[] {
  if (!Array.isArray(servers)) throw new RangeError(`servers must be a list, got ${inspect(servers)}`);
  if (servers.length === 0) throw new RangeError('servers is empty');
  const places = new Map<string, number>();
  return servers.map((given: unknown, index) => {
    const address = toServerAddress(`servers[${index}]`, given);
    const key = addressText(address);
    const before = places.get(key);
    if (before !== undefined)
      throw new RangeError(`servers[${index}] has the address of servers[${before}]: ${key}`);
    places.set(key, index);
    return address;
  });
}

/**
 * A frozen copy of an address.
 *
 * @param what its place, for messages
 * @throws RangeError that names what is wrong
 */
export function toServerAddress(what: string, given: unknown): ServerAddress {
  if (!isRecord(given)) throw new RangeError(`${what} must be an object, got ${inspect(given)}`);
  assertNames(what, given, KEYS);
  const { metadata } = given;
  if (metadata !== undefined && !isRecord(metadata))
    throw new RangeError(`${what}.metadata must be an object, got ${inspect(metadata)}`);
  return Object.freeze({
    host: text(`${what}.host`, given['host']),
    port: given['port'] === undefined ? undefined : portOf(`${what}.port`, given['port']),
    path: text(`${what}.path`, given['path']),
    serverName: text(`${what}.serverName`, given['serverName']),
    weight: given['weight'] === undefined ? undefined : weightOf(`${what}.weight`, given['weight']),
    metadata: metadata && Object.freeze({ ...metadata }),
  });
}

/** @throws RangeError unless it is a finite number of at least 0 */
export function weightOf(what: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value < Infinity) return value;
  throw new RangeError(`${what} must be a finite number of at least 0, got ${inspect(value)}`);
}

function text(what: string, value: unknown): string | undefined {
  if (value === undefined || (typeof value === 'string' && value !== '')) return value;
  throw new RangeError(`${what} must be text, got ${inspect(value)}`);
}

/** A port as a number; environment variables hold it as text. @throws RangeError unless it is one to connect to */
export function portOf(what: string, value: unknown): number {
  const number = typeof value === 'string' && value !== '' ? Number(value) : value;
  if (typeof number === 'number' && Number.isInteger(number) && number > 0 && number <= 65_535) return number;
  throw new RangeError(`${what} must be a whole number from 1 to 65535, got ${inspect(value)}`);
}
