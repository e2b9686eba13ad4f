import { isUtf8 } from 'node:buffer';
import { setEach } from './own-property.js';
import { isObject } from './unknown.js';

/** msgpack extension types of the extension `values`. */
export const ValueType = {
  /** msgpack's timestamp: a date. One byte of payload: an invalid date. */
  Timestamp: 0xff,
  /** One byte of payload, 0. */
  Undefined: 0x00,
  /** Two's complement, big-endian, at least one byte. */
  BigInt: 0x01,
  /** An array: key, value, key, value, ... */
  Map: 0x02,
  /** An array of the items. */
  Set: 0x03,
  /** An array of three: name, message, a map of more fields. */
  Error: 0x04,
  /** UTF-8. */
  Url: 0x05,
  /** An array of two texts: source, flags. */
  RegExp: 0x06,
} as const;

/** Longest source of a regular expression, in characters. */
export const MAX_REGEXP_CHARS = 1024;
/** Longest URL, in bytes. */
export const MAX_URL_BYTES = 64 * 1024;
/**
 * Most numbers, bigints and texts of digits among the keys of Maps and items of Sets in one frame: their hashes are
 * predictable, and a peer could choose them so that each costs as much as all before it.
 */
export const MAX_NUMBER_KEYS = 16_384;

/** Types whose payload is one msgpack value. */
export function holdsValue(type: number): boolean {
  return (
    type === ValueType.Map || type === ValueType.Set || type === ValueType.Error || type === ValueType.RegExp
  );
}

/** Length in bytes of the payload of an extension. */
export function extensionSize(chunk: Buffer, pos: number, token: number): number {
  if (token >= 0xd4) return 1 << (token - 0xd4);
  if (token === 0xc7) return chunk[pos + 1] as number;
  return token === 0xc8 ? chunk.readUInt16BE(pos + 1) : chunk.readUInt32BE(pos + 1);
}

/** Whether msgpackr decodes a payload of this type and size correctly. */
export function isSimple(type: number, size: number): boolean {
  if (type === ValueType.Undefined) return size === 1;
  return type === ValueType.Timestamp && (size === 4 || size === 8 || size === 12 || size === 1);
}

/** A body with something that is not a value, in a frame that is sound otherwise. */
export class UnreadableBody {
  constructor(readonly reason: string) {}
}

/** Reads payloads that hold bytes. @throws RangeError if they are not a value */
export function readBytes(type: number, bytes: Buffer): unknown {
  switch (type) {
    case ValueType.Undefined:
      if (bytes.length === 1) return undefined;
      break;
    case ValueType.Timestamp:
      return readDate(bytes);
    case ValueType.BigInt:
      return readBigInt(bytes);
    case ValueType.Url:
      return readUrl(bytes);
  }
  throw new RangeError(`an extension of type ${type} and ${bytes.length} bytes`);
}

/** Makes values of decoded payloads. @throws RangeError if they are not a value */
export class ValueMaker {
  #numberKeys = 0;

  make(type: number, payload: unknown): unknown {
    if (!Array.isArray(payload)) throw new RangeError(`an extension of type ${type} that holds no array`);
    const items = payload as readonly unknown[];
    switch (type) {
      case ValueType.Map:
        return this.#map(items);
      case ValueType.Set:
        for (const item of items) this.#count(item);
        return new Set(items);
      case ValueType.Error:
        return errorOf(items);
      default:
        return regExpOf(items);
    }
  }

  #map(items: readonly unknown[]): Map<unknown, unknown> {
    if (items.length % 2 !== 0) throw new RangeError('a Map with a key without a value');
    const map = new Map<unknown, unknown>();
    for (let i = 0; i < items.length; i += 2) {
      this.#count(items[i]);
      map.set(items[i], items[i + 1]);
    }
    return map;
  }

  #count(key: unknown): void {
    if (isNumberKey(key) && ++this.#numberKeys > MAX_NUMBER_KEYS) throw new RangeError(tooManyNumberKeys());
  }
}

export function isNumberKey(key: unknown): boolean {
  if (typeof key === 'string') return key.length < 20 && /^\d+$/.test(key);
  return typeof key === 'number' || typeof key === 'bigint';
}

export function tooManyNumberKeys(): string {
  return `more than ${MAX_NUMBER_KEYS} numbers among the keys of Maps and items of Sets`;
}

/** Two's complement, big-endian, as short as possible. */
export function bigIntBytes(value: bigint): Buffer {
  const isNegative = value < 0n;
  let digits = (isNegative ? ~value : value).toString(16);
  if (digits.length % 2 !== 0) digits = `0${digits}`;
  if (Number.parseInt(digits.slice(0, 2), 16) >= 0x80) digits = `00${digits}`;
  const bytes = Buffer.from(digits, 'hex');
  if (isNegative) for (let i = 0; i < bytes.length; i++) bytes[i] = ~(bytes[i] as number) & 0xff;
  return bytes;
}

function readBigInt(bytes: Buffer): bigint {
  if (bytes.length === 0) throw new RangeError('a bigint without bytes');
  if ((bytes[0] as number) < 0x80) return BigInt(`0x${bytes.toString('hex')}`);
  const inverted = Buffer.from(bytes);
  for (let i = 0; i < inverted.length; i++) inverted[i] = ~(inverted[i] as number) & 0xff;
  return ~BigInt(`0x${inverted.toString('hex')}`);
}

function readDate(bytes: Buffer): unknown {
  if (bytes.length === 1) return new Date(Number.NaN);
  if (bytes.length === 4) return new Date(bytes.readUInt32BE(0) * 1000);
  if (bytes.length === 8) {
    const high = bytes.readUInt32BE(0);
    return dateOf((high & 3) * 0x1_0000_0000 + bytes.readUInt32BE(4), high >>> 2);
  }
  if (bytes.length === 12) return dateOf(Number(bytes.readBigInt64BE(4)), bytes.readUInt32BE(0));
  throw new RangeError(`a timestamp of ${bytes.length} bytes`);
}

function dateOf(seconds: number, nanoseconds: number): unknown {
  return new Date(seconds * 1000 + Math.floor(nanoseconds / 1_000_000));
}

function readUrl(bytes: Buffer): URL {
  if (bytes.length > MAX_URL_BYTES || !isUtf8(bytes) || !URL.canParse(bytes.toString())) {
    throw new RangeError('a URL that is none');
  }
  return new URL(bytes.toString());
}

/** The expression is never run here. */
function regExpOf([source, flags]: readonly unknown[]): RegExp {
  if (typeof source !== 'string' || typeof flags !== 'string')
    throw new RangeError('a RegExp that is no text');
  if (source.length > MAX_REGEXP_CHARS)
    throw new RangeError(`a RegExp of more than ${MAX_REGEXP_CHARS} characters`);
  try {
    return new RegExp(source, flags);
  } catch {
    throw new RangeError('a RegExp that is none');
  }
}

const ERRORS: ReadonlyMap<string, ErrorConstructor> = new Map<string, ErrorConstructor>(
  Object.entries({ EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError }),
);

/** Fields of an error that are not sent, or taken from a peer, as further fields. */
export const ERROR_FIELDS: ReadonlySet<string> = new Set([
  'name',
  'message',
  'stack',
  'cause',
  'constructor',
  'prototype',
  '__proto__',
]);

function errorOf([name, message, fields]: readonly unknown[]): Error {
  if (typeof name !== 'string' || typeof message !== 'string' || !isObject(fields)) {
    throw new RangeError('an Error without name, message and fields');
  }
  const error = withoutStack(ERRORS.get(name) ?? Error, message);
  if (error.name !== name) define(error, 'name', name);
  define(error, 'stack', `${name}: ${message}`);
  const own = Object.entries(fields).filter(([key]) => !ERROR_FIELDS.has(key));
  return setEach(error, own);
}

/** The stack of the decoder says nothing about an error of the peer. */
function withoutStack(Class: ErrorConstructor, message: string): Error {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return new Class(message);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** Not enumerable, as the built-in fields of an error. */
function define(error: Error, key: string, value: unknown): void {
  Object.defineProperty(error, key, { value, enumerable: false, writable: true, configurable: true });
}
