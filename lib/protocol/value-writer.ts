import { tooDeep, tooManyItems } from './encode-fault.js';
import { EncodedBody } from './held-body.js';
import { ScalarWriter } from './scalar-writer.js';
import { Snapshot } from './snapshot.js';

/** Objects that `toJSON()` may put in place of each other. */
const MAX_REPLACED = 100;

/** Writes any value, as deep and with as many parts as the limits allow. */
export abstract class ValueWriter extends ScalarWriter {
  /** Values of the frame so far. */
  protected items = 0;
  protected maxDepth = 0;
  /** The keys of a header have rules of their own. */
  protected inHeader = false;

  #depth = 0;
  /** Nested `toJSON()` results: one that returns a new object each time would never end. */
  #replaced = 0;

  /** Forgets what a value that failed has left. */
  protected resetValues(): void {
    this.#depth = 0;
    this.#replaced = 0;
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
        return this.bigint(value);
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

  /** Writes the count of a map again, in the form that the larger count took. */
  #patchCount(at: number, reserved: number, count: number): void {
    if (reserved < 16) this.buffer[at] = 0x80 | count;
    else if (reserved < 0x1_0000) this.buffer.writeUInt16BE(count, at + 1);
    else this.buffer.writeUInt32BE(count, at + 1);
  }

  #special(value: object): void {
    if (value instanceof Uint8Array) return this.bytes(value);
    if (value instanceof ArrayBuffer) return this.bytes(new Uint8Array(value));
    if (value instanceof DataView) {
      return this.bytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    }
    if (value instanceof EncodedBody) return this.#encoded(value);
    if (value instanceof Snapshot) return this.#instead(value, value.value);
    if (ArrayBuffer.isView(value)) return this.#array(value as unknown as ArrayLike<unknown>);
    if (value instanceof Set) return this.#array([...value]);
    if (value instanceof Map) return this.#map(recordOf(value));
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === 'function') return this.#instead(value, toJSON.call(value, ''));
    if (value instanceof Number || value instanceof String || value instanceof Boolean) {
      return this.#instead(value, value.valueOf());
    }
    return this.#map(value);
  }

  /** A body that was encoded before: its bytes are its own. */
  #encoded({ bytes, items }: EncodedBody): void {
    this.items += items - 1;
    if (this.items > this.limits.maxItems) throw tooManyItems(this.limits.maxItems);
    const { copying } = this;
    this.copying = false;
    this.rawOrSplice(bytes);
    this.copying = copying;
  }

  /** Writes what an object stands for; one that stands for itself is written as it is. */
  #instead(object: object, value: unknown): void {
    if (value === object) return this.#map(object);
    this.items -= 1;
    if (++this.#replaced > MAX_REPLACED) throw tooDeep();
    this.value(value);
    this.#replaced -= 1;
  }
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return (prototype === Object.prototype || prototype === null) && !('toJSON' in value);
}

function recordOf(map: ReadonlyMap<unknown, unknown>): object {
  const record = Object.create(null) as Record<string, unknown>;
  for (const [key, value] of map) {
    if (typeof key !== 'string' && typeof key !== 'number' && typeof key !== 'bigint') {
      throw new TypeError(`a Map key of type ${typeof key}`);
    }
    record[String(key)] = value;
  }
  return record;
}
