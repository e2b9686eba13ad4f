import { randomUUID } from 'node:crypto';
import { toServerAddress } from '../cluster/static-resolver.js';
import { addressText } from '../protocol/server-address.js';
import type { ServerAddress } from '../cluster/server-address.js';
import { isRecord } from '../protocol/values/unknown.js';

/** Bytes of a value, of which etcd takes 1.5 MiB. */
export const MAX_VALUE_BYTES = 65_536;

/** A key of its own for each registration: two servers at one address (an old one, or one of several processes) do not meet. */
export function newKey(servicePrefix: string, address: ServerAddress): string {
  return `${servicePrefix}${addressText(address)}/${randomUUID()}`;
}

export function encodeServer({ host, port, serverName, weight, metadata }: ServerAddress): string {
  return JSON.stringify({ host, port, serverName, weight, metadata });
}

/**
 * Reads a value; what it does not know is left out, so that later versions may add to it.
 *
 * @throws Error that says what is wrong
 */
export function decodeServer(value: string): ServerAddress {
  if (value.length > MAX_VALUE_BYTES)
    throw new RangeError(`the value has more than ${MAX_VALUE_BYTES} bytes`);
  const parsed: unknown = JSON.parse(value);
  if (!isRecord(parsed)) throw new RangeError('the value is not an object');
  const { host, port, serverName, weight, metadata } = parsed;
  if (host === undefined || port === undefined) throw new RangeError('host or port is missing');
  return toServerAddress('value', {
    host,
    port,
    serverName: serverName ?? undefined,
    weight: weight ?? undefined,
    metadata: metadata ?? undefined,
  });
}

export function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

export function fromBase64(value: unknown): string {
  return typeof value === 'string' ? Buffer.from(value, 'base64').toString() : '';
}

/** The keys that begin with a prefix, as a range of etcd. */
export function rangeOf(prefix: string): { readonly key: string; readonly range_end: string } {
  const end = Buffer.from(prefix);
  end[end.length - 1] = (end[end.length - 1] ?? 0) + 1; // it ends with "/"
  return { key: base64(prefix), range_end: end.toString('base64') };
}

/** An int64, which JSON has as text; 0 is left out. */
export function int64(value: unknown): number {
  const number = Number(value ?? 0);
  return Number.isSafeInteger(number) ? number : 0;
}
