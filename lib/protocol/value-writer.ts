import { types } from 'node:util';
import { tooDeep, tooManyItems } from './encode-fault.js';
import { EncodedBody } from './held-body.js';
import { ScalarWriter } from './scalar-writer.js';
import { setEach, setOwn } from './values/own-property.js';
import { Snapshot } from './snapshot.js';
import {
  bigIntBytes,
  ERROR_FIELDS,
  isNumberKey,
  MAX_NUMBER_KEYS,
  MAX_REGEXP_CHARS,
  MAX_URL_BYTES,
  tooManyNumberKeys,
  ValueType,
} from './values/values.js';

/** Most objects in a row that `toJSON()` may replace by the next. */
const MAX_REPLACED = 100;

/** Writes any value, as deep and with as many parts as the limits allow. */
export abstract class ValueWriter extends ScalarWriter {
  /** Values of the frame so far. */
  protected items = 0;
  protected maxDepth = 0;
  /** The keys of a header follow stricter rules. */
  protected inHeader = false;

  /** The peer offered the extension `values`: what it can carry is not replaced. */
  protected values = false;
  /** Something in the value that was written needs the extension. */
  protected usesValues = false;

  #depth = 0;
  #numberKeys = 0;
  /** Nested `toJSON()` results: one that always returns a new object would never end. */
  #replaced = 0;

  /** Resets what a value that failed has left behind. */
  protected resetValues(): void {
    this.#depth = 0;
    this.#replaced = 0;
    this.#numberKeys = 0;
    this.usesValues = false;
    this.items = 0;
    this.inHeader = false;
  }

  protected value(value: unknown): void {
    if (++this.items > this.limits.maxItems) throw tooManyItems(this.limits.maxItems);
    switch (typeof value) {
      case 'string':
        return this.text(value);
      case 'number':
        return this.number(value);
      case 'object':
        return value === null ? this.byte(0xc0) : this.#object(value);
      case 'boolean':
        return this.byte(value ? 0xc3 : 0xc2);
      case 'bigint':
        return this.values && !this.inHeader ? this.#bigint(value) : this.bigint(value);
      case 'undefined':
        if (this.values && !this.inHeader) return this.#undefined();
        return this.byte(0xc0);
      default:
        return this.byte(0xc0);
    }
  }

  #object(value: object): void {
    if (Array.isArray(value)) this.#array(value);
    else if (isPlain(value)) this.#map(value);
    else this.#special(value);
  }

  #array(items: ArrayLike<unknown>): void {
    const { length } = items;
    if (++this.#depth > this.maxDepth) throw tooDeep();
    this.reserve(5);
    this.head(length, 0x90, 16, 0xdb);
    for (let i = 0; i < length; i++) this.value(items[i]);
    this.#depth -= 1;
  }

  #map(object: object): void {
    const record = object as Record<string, unknown>;
    const keys = Object.keys(record);
    if (++this.#depth > this.maxDepth) throw tooDeep();
    if (this.inHeader) this.#checkHeaderKeys(keys);
    this.items += keys.length; // values are counted as they are written
    this.reserve(5);
    const sizeAt = this.end;
    const started = this.start;
    this.head(keys.length, 0x80, 16, 0xdd);
    let omitted = 0;
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string;
      const value = record[key];
      if (value === undefined || typeof value === 'function' || typeof value === 'symbol') {
        omitted += 1;
        this.items -= 1;
        continue;
      }
      this.text(key);
      this.value(value);
    }
    if (omitted > 0) this.#patchCount(sizeAt - started + this.start, keys.length, keys.length - omitted);
    this.#depth -= 1;
  }

  #checkHeaderKeys(keys: readonly string[]): void {
    for (const key of keys) {
      if (key === '__proto__' || key === 'prototype' || key === 'constructor')
        throw new RangeError(`the key ${key}`);
      if (Buffer.byteLength(key) > this.limits.maxHeaderKeyBytes) {
        throw new RangeError(`a key of ${Buffer.byteLength(key)} bytes (limits.maxHeaderKeyBytes)`);
      }
    }
  }

  /** Writes the count of a map again, in the form that was reserved for the larger count. */
  #patchCount(at: number, reserved: number, count: number): void {
    if (reserved < 16) this.buffer[at] = 0x80 | count;
    else if (reserved < 0x1_0000) this.buffer.writeUInt16BE(count, at + 1);
    else this.buffer.writeUInt32BE(count, at + 1);
  }

  #special(value: object): void {
    // of any realm
    if (types.isUint8Array(value)) return this.bytes(value);
    if (types.isAnyArrayBuffer(value)) return this.bytes(new Uint8Array(value));
    if (types.isDataView(value)) {
      return this.bytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    }
    if (value instanceof EncodedBody) return this.#encoded(value);
    if (value instanceof Snapshot) return this.#instead(value, value.value);
    if (ArrayBuffer.isView(value)) return this.#array(value as unknown as ArrayLike<unknown>);
    if (this.values && !this.inHeader && this.#extended(value)) return;
    if (types.isSet(value)) return this.#array([...value]);
    if (types.isMap(value)) return this.#map(recordOf(value));
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === 'function') return this.#instead(value, toJSON.call(value, ''));
    if (types.isBoxedPrimitive(value)) return this.#instead(value, value.valueOf());
    return this.#map(value);
  }

  #undefined(): void {
    this.usesValues = true;
    this.reserve(3);
    this.buffer[this.end++] = 0xd4;
    this.buffer[this.end++] = ValueType.Undefined;
    this.buffer[this.end++] = 0;
  }

  #bigint(value: bigint): void {
    this.#blob(ValueType.BigInt, bigIntBytes(value));
  }

  /** Writes a value that msgpack has no type for. @returns false if it is not such a value */
  #extended(value: object): boolean {
    if (types.isDate(value)) this.#date(value.getTime());
    else if (types.isMap(value)) this.#mapExtension(value);
    else if (types.isSet(value)) {
      for (const item of value) this.#countKey(item);
      this.#nested(ValueType.Set, [...value]);
    } else if (types.isRegExp(value)) this.#regExp(value);
    else if (isUrl(value)) this.#blob(ValueType.Url, urlBytes(value));
    else if (isError(value)) this.#nested(ValueType.Error, errorParts(value));
    else return false;
    return true;
  }

  #mapExtension(map: ReadonlyMap<unknown, unknown>): void {
    const items: unknown[] = [];
    for (const [key, value] of map) {
      this.#countKey(key);
      items.push(key, value);
    }
    this.#nested(ValueType.Map, items);
  }

  /** The peer would refuse more of them. */
  #countKey(key: unknown): void {
    if (isNumberKey(key) && ++this.#numberKeys > MAX_NUMBER_KEYS) throw new RangeError(tooManyNumberKeys());
  }

  #regExp({ source, flags }: RegExp): void {
    if (source.length > MAX_REGEXP_CHARS)
      throw new RangeError(`a RegExp of more than ${MAX_REGEXP_CHARS} characters`);
    this.#nested(ValueType.RegExp, [source, flags]);
  }

  #date(time: number): void {
    this.usesValues = true;
    this.reserve(15);
    const seconds = Math.floor(time / 1000);
    const nanoseconds = (time - seconds * 1000) * 1_000_000;
    if (Number.isNaN(time)) this.#head(1, ValueType.Timestamp, 0xff);
    else if (seconds >= 0 && seconds <= 0xffff_ffff && nanoseconds === 0) {
      this.#head(4, ValueType.Timestamp);
      this.end = this.buffer.writeUInt32BE(seconds, this.end);
    } else if (seconds >= 0 && seconds < 0x4_0000_0000) {
      this.#head(8, ValueType.Timestamp);
      this.end = this.buffer.writeUInt32BE(nanoseconds * 4 + Math.floor(seconds / 0x1_0000_0000), this.end);
      this.end = this.buffer.writeUInt32BE(seconds % 0x1_0000_0000, this.end);
    } else {
      this.#head(12, ValueType.Timestamp);
      this.end = this.buffer.writeUInt32BE(nanoseconds, this.end);
      this.end = this.buffer.writeBigInt64BE(BigInt(seconds), this.end);
    }
  }

  /** The head of an extension, in its smallest form; the caller has made room. */
  #head(size: number, type: number, payload?: number): void {
    const fixed = FIXED.indexOf(size);
    if (fixed >= 0) this.buffer[this.end++] = 0xd4 + fixed;
    else if (size < 0x100) {
      this.buffer[this.end++] = 0xc7;
      this.buffer[this.end++] = size;
    } else if (size < 0x1_0000) {
      this.buffer[this.end++] = 0xc8;
      this.end = this.buffer.writeUInt16BE(size, this.end);
    } else {
      this.buffer[this.end++] = 0xc9;
      this.end = this.buffer.writeUInt32BE(size, this.end);
    }
    this.buffer[this.end++] = type;
    if (payload !== undefined) this.buffer[this.end++] = payload;
  }

  #blob(type: number, bytes: Buffer): void {
    this.usesValues = true;
    this.reserve(6);
    this.#head(bytes.length, type);
    this.raw(bytes);
  }

  /** An extension that holds an array: its size is known only when that was written. */
  #nested(type: number, items: readonly unknown[]): void {
    this.usesValues = true;
    if (++this.#depth > this.maxDepth) throw tooDeep();
    this.reserve(6);
    const at = this.end - this.start;
    const before = this.spliced;
    this.end += 6;
    this.items += 1;
    this.#array(items);
    this.#depth -= 1;
    const started = this.start + at;
    const size = this.end - started - 6 + this.spliced - before;
    const head =
      this.spliced > before || size >= 0x1_0000 ? 6 : FIXED.includes(size) ? 2 : size < 0x100 ? 3 : 4;
    const { end } = this;
    this.end = started;
    if (head < 6) {
      this.buffer.copyWithin(started + head, started + 6, end);
      this.#head(size, type);
    } else {
      this.buffer[this.end++] = 0xc9;
      this.end = this.buffer.writeUInt32BE(size, this.end);
      this.buffer[this.end] = type;
    }
    this.end = end - 6 + head;
  }

  /** A body that was encoded before: its bytes are its own. */
  #encoded(body: EncodedBody): void {
    const { bytes, items, usesValues } = body;
    // it uses `values`, which this peer cannot read
    if (usesValues && !this.values) return this.#instead(body, body.decode());
    this.usesValues ||= usesValues;
    this.items += items - 1;
    if (this.items > this.limits.maxItems) throw tooManyItems(this.limits.maxItems);
    const { copying } = this;
    this.copying = false;
    this.rawOrSplice(bytes);
    this.copying = copying;
  }

  /** Writes the value that replaces an object; one that is replaced by itself is written as it is. */
  #instead(object: object, value: unknown): void {
    if (value === object) return this.#map(object);
    this.items -= 1;
    if (++this.#replaced > MAX_REPLACED) throw tooDeep();
    this.value(value);
    this.#replaced -= 1;
  }
}

/** Sizes that have a head of their own. */
const FIXED: readonly number[] = [1, 2, 4, 8, 16];

function isUrl(value: object): value is URL {
  if (value instanceof URL) return true;
  return Object.prototype.toString.call(value) === '[object URL]' && typeof (value as URL).href === 'string';
}

function urlBytes({ href }: URL): Buffer {
  const bytes = Buffer.from(href);
  if (bytes.length > MAX_URL_BYTES) throw new RangeError(`a URL of more than ${MAX_URL_BYTES} bytes`);
  return bytes;
}

/** One with a `toJSON()` decides itself what is sent. */
function isError(value: object): value is Error {
  return (types.isNativeError(value) || value instanceof Error) && !('toJSON' in value);
}

/** Name, message and the fields that it was given beside these; no stack, no cause. */
function errorParts(error: Error): unknown[] {
  const own = Object.entries(error).filter(([key]) => !ERROR_FIELDS.has(key));
  const fields = setEach({}, own);
  // they may be anything, whatever their types say
  const { name, message } = error as { name: unknown; message: unknown };
  return [String(name), String(message), fields];
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return (prototype === Object.prototype || prototype === null) && !('toJSON' in value);
}

function recordOf(map: ReadonlyMap<unknown, unknown>): object {
  const record = Object.create(null) as Record<string, unknown>;
  let isSparse = false;
  for (const [key, value] of map) {
    if (typeof key !== 'string' && typeof key !== 'number' && typeof key !== 'bigint') {
      throw new TypeError(`a Map key of type ${typeof key}`);
    }
    isSparse = setOwn(record, String(key), value, isSparse);
  }
  return record;
}
