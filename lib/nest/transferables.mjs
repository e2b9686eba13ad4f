// @ts-check
// Plain JavaScript: a worker thread loads it as it is, also where the library itself runs from TypeScript.
import { types } from 'node:util';

/** Less memory is cheaper to copy than to hand over. */
const MIN_MOVED_BYTES = 64 * 1024;
/** Buffers deeper in a value, and those in long lists, are copied: looking for them would cost more. */
const MAX_LEVELS = 4;
const MAX_LIST = 1024;

/**
 * Gets a value ready for its way to another thread. Large memory that belongs to one buffer alone is collected in
 * `moved`, to be handed over instead of copied. A view of a part of some memory becomes a copy of that part: a thread
 * would get all of the memory otherwise, such as the whole frame that the bytes came in.
 *
 * @param {unknown} value
 * @param {Set<ArrayBuffer>} moved
 * @returns {unknown} the value, or a copy of its containers where something in it changed
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
