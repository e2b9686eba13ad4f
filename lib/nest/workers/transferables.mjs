// @ts-check
// Plain JavaScript: a worker thread loads it without a build, also if the library itself runs from TypeScript.
import { randomUUID } from 'node:crypto';
import { types } from 'node:util';

/** Less memory is cheaper to copy than to transfer. */
const MIN_MOVED_BYTES = 64 * 1024;
/** Buffers deeper in a value, and those in long lists, are copied: to search for them would cost more. */
const MAX_LEVELS = 4;
const MAX_LIST = 1024;

/**
 * Prepares a value for another thread. Large memory of a single buffer is collected in `moved`, to be transferred instead of
 * copied. A view of a part of some memory becomes a copy of that part: otherwise the thread would get all of the memory,
 * such as the whole frame that the bytes came in.
 *
 * @param {unknown} value
 * @param {Set<ArrayBuffer>} moved
 * @returns {unknown} the value, or a copy of its containers if something in it changed
 */
export function prepareForThread(value, moved, level = 0) {
  if (typeof value !== 'object' || value === null) return value;
  if (ArrayBuffer.isView(value)) return prepareView(value, moved);
  if (types.isArrayBuffer(value)) {
    if (value.byteLength >= MIN_MOVED_BYTES) moved.add(value);
    return value;
  }
  if (level === MAX_LEVELS) return value;
  if (Array.isArray(value)) {
    if (value.length > MAX_LIST) return value;
    const items = value.map((item) => prepareForThread(item, moved, level + 1));
    return items.some((item, i) => item !== value[i]) ? items : value;
  }
  if (Object.prototype.toString.call(value) !== '[object Object]') return value;
  let changed = false;
  const entries = Object.entries(value).map(([key, item]) => {
    const prepared = prepareForThread(item, moved, level + 1);
    changed ||= prepared !== item;
    return [key, prepared];
  });
  return changed ? Object.fromEntries(entries) : value;
}

/**
 * @param {ArrayBufferView} view
 * @param {Set<ArrayBuffer>} moved
 */
function prepareView(view, moved) {
  const { buffer, byteLength, byteOffset } = view;
  if (!types.isArrayBuffer(buffer)) return view; // memory that both threads share
  if (byteLength === buffer.byteLength) {
    if (byteLength >= MIN_MOVED_BYTES) moved.add(buffer);
    return view;
  }
  const own = buffer.slice(byteOffset, byteOffset + byteLength);
  if (byteLength >= MIN_MOVED_BYTES) moved.add(own);
  if (view instanceof DataView) return new DataView(own);
  const View = /** @type {new (memory: ArrayBuffer) => unknown} */ (
    types.isUint8Array(view) ? Uint8Array : view.constructor
  );
  return new View(own);
}

/** Keys that are indices to V8. Among the keys of an object they come first. */
const INDEX = /^(?:0|[1-9]\d{0,9})$/;
const LARGEST_INDEX = 4_294_967_294;

/**
 * Replaces each object that has indices as keys by a Map: V8 would allocate the clone of such an object with all elements
 * below them, 31 KB for the keys "1023" and "2574" that a peer has sent. The first entry of each Map is the token, which is
 * unpredictable.
 *
 * @param {unknown} value
 * @returns {{ value: unknown, token: string | undefined }} the value, or a copy of its containers if something in it
 * changed, and the token that {@link showIndices} needs then
 */
export function hideIndices(value) {
  const token = randomUUID();
  const result = hide(value, token, new Map());
  return result === value ? { value, token: undefined } : { value: result, token };
}

/**
 * @param {unknown} value
 * @param {string} token
 * @param {Map<object, unknown>} seen the results for the objects so far
 * @returns {unknown}
 */
function hide(value, token, seen) {
  if (typeof value !== 'object' || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  seen.set(value, value);
  const result = hideIn(value, (item) => hide(item, token, seen), token);
  seen.set(value, result);
  return result;
}

/**
 * @param {object} value
 * @param {(item: unknown) => unknown} inner
 * @param {string} token
 * @returns {unknown}
 */
function hideIn(value, inner, token) {
  const change = (/** @type {unknown[]} */ items) => {
    const changed = items.map(inner);
    return changed.some((item, i) => !Object.is(item, items[i])) ? changed : undefined;
  };
  if (Array.isArray(value)) return change(value) ?? value;
  if (types.isSet(value)) {
    const items = change([...value]);
    return items ? new Set(items) : value;
  }
  if (types.isMap(value)) {
    const entries = change([...value].flat());
    return entries ? new Map(pairs(entries)) : value;
  }
  if (Object.prototype.toString.call(value) !== '[object Object]') return value;
  const before = Object.entries(value).flat();
  const after = change(before);
  if (before.length > 0 && INDEX.test(String(before[0])))
    return new Map([[token, true], ...pairs(after ?? before)]);
  return after ? Object.fromEntries(pairs(after)) : value;
}

/**
 * @param {unknown[]} list keys and values in turn
 * @returns {[any, unknown][]}
 */
function pairs(list) {
  /** @type {[any, unknown][]} */
  const entries = [];
  for (let i = 0; i < list.length; i += 2) entries.push([list[i], list[i + 1]]);
  return entries;
}

/**
 * Restores the objects, in a value that only the caller uses.
 *
 * @param {unknown} value
 * @param {string} token
 * @param {Map<object, unknown>} [seen]
 * @returns {unknown}
 */
export function showIndices(value, token, seen = new Map()) {
  if (typeof value !== 'object' || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  seen.set(value, value);
  const inner = (/** @type {unknown} */ item) => showIndices(item, token, seen);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (i in value) value[i] = inner(value[i]);
  } else if (types.isSet(value)) {
    const items = [...value];
    value.clear();
    for (const item of items) value.add(inner(item));
  } else if (types.isMap(value)) {
    const entries = [...value];
    if (entries[0]?.[0] === token) {
      /** @type {Record<string, unknown>} */
      const object = {};
      seen.set(value, object);
      // V8 keeps the elements of this object in a hash table from now on
      object[LARGEST_INDEX] = undefined;
      delete object[LARGEST_INDEX];
      for (const [key, item] of /** @type {[string, unknown][]} */ (entries.slice(1)))
        Object.defineProperty(object, key, {
          value: inner(item),
          writable: true,
          enumerable: true,
          configurable: true,
        });
      return object;
    }
    value.clear();
    for (const [key, item] of entries) value.set(inner(key), inner(item));
  } else if (Object.prototype.toString.call(value) === '[object Object]') {
    const record = /** @type {Record<string, unknown>} */ (value);
    for (const key of Object.keys(record)) {
      const item = inner(record[key]);
      if (item !== record[key])
        Object.defineProperty(record, key, {
          value: item,
          writable: true,
          enumerable: true,
          configurable: true,
        });
    }
  }
  return value;
}
