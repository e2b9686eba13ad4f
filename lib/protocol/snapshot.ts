import { types } from 'node:util';
import { tooDeep, tooManyItems } from './encode-fault.js';
import type { Header } from './frame.js';
import { ownCopy, setOwn } from './values/own-property.js';
import { isObject } from './values/unknown.js';

/** Deeper values overflow the stack of V8, and no limits allow them. */
const MAX_DEPTH = 1000;

/** More than any header has room for. */
const MAX_HEADER_ITEMS = 64 * 1024;

/** Memory of a value beside its texts and bytes. */
const VALUE_BYTES = 8;

/** A copy of a body as a value, for processors that work on it before it is encoded: it does not change with the original. */
export class Snapshot {
  constructor(
    readonly value: unknown,
    /** Its approximate size. */
    readonly bytes: number,
  ) {}
}

/**
 * Copies a value deeply. Copies have the prototype of the original; an object with a `toJSON()` of its own is
 * replaced by what that returns, as the encoder does.
 *
 * @throws what a getter or proxy throws; RangeError if it is nested too deep or circular, Fault if it has too many parts
 */
export function snapshotOf(value: unknown, maxItems: number): Snapshot {
  const copier = new Copier(maxItems);
  return new Snapshot(copier.copy(value, 0), copier.bytes);
}

/** A copy of a header. Values that cannot be copied stay: the encoder says what is wrong with them. */
export function headerAsItIs(header: Header): Header {
  const copy = ownCopy(header);
  for (const [key, value] of Object.entries(copy)) {
    if (!isObject(value)) continue;
    try {
      copy[key] = snapshotOf(value, MAX_HEADER_ITEMS).value;
    } catch {
      continue;
    }
  }
  return copy;
}

class Copier {
  bytes = 0;
  #items = 0;

  constructor(private readonly maxItems: number) {}

  copy(value: unknown, depth: number): unknown {
    if (++this.#items > this.maxItems) throw tooManyItems(this.maxItems);
    this.bytes += VALUE_BYTES;
    if (typeof value === 'string') this.bytes += value.length;
    if (!isObject(value)) return value;
    if (depth > MAX_DEPTH) throw tooDeep();
    return this.#object(value, depth + 1);
  }

  #object(value: object, depth: number): unknown {
    if (Array.isArray(value)) return value.map((item: unknown) => this.copy(item, depth));
    if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) return this.#bytes(value);
    if (types.isDate(value)) return new Date(value.getTime());
    if (types.isMap(value)) return this.#map(value, depth);
    if (types.isSet(value)) return new Set(Array.from(value, (item) => this.copy(item, depth)));
    // their inner state cannot be copied by its properties
    if (types.isNativeError(value) || types.isRegExp(value) || types.isBoxedPrimitive(value)) return value;
    if (value instanceof URL) return new URL(value);
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === 'function') {
      const instead: unknown = toJSON.call(value, '');
      if (instead !== value) return this.copy(instead, depth);
    }
    return this.#properties(value, depth);
  }

  #bytes(value: ArrayBufferView | ArrayBufferLike): unknown {
    this.bytes += value.byteLength;
    if (!ArrayBuffer.isView(value)) return value.slice(0);
    if (types.isTypedArray(value)) return copyOfTyped(value);
    const { buffer, byteOffset, byteLength } = value;
    return new DataView(buffer.slice(byteOffset, byteOffset + byteLength));
  }

  #map(map: ReadonlyMap<unknown, unknown>, depth: number): Map<unknown, unknown> {
    const copy = new Map<unknown, unknown>();
    for (const [key, value] of map) copy.set(this.copy(key, depth), this.copy(value, depth));
    return copy;
  }

  #properties(value: object, depth: number): object {
    const copy = Object.create(Object.getPrototypeOf(value) as object | null) as Record<string, unknown>;
    let isSparse = false;
    for (const key of Object.keys(value)) {
      const child = this.copy((value as Record<string, unknown>)[key], depth);
      if (key in copy) {
        // an assignment would call a setter of the class, or change the prototype
        Object.defineProperty(copy, key, {
          value: child,
          writable: true,
          enumerable: true,
          configurable: true,
        });
      } else isSparse = setOwn(copy, key, child, isSparse);
    }
    return copy;
  }
}

/** `slice()` of a Buffer is a view, that of its base class a copy. */
function copyOfTyped(value: NodeJS.TypedArray): NodeJS.TypedArray {
  return (Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array).slice.call(value);
}
