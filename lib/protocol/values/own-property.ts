/** The largest index that an array can have. */
const LARGEST_INDEX = 4_294_967_294;

/** Keys that are indices to V8, which keeps such properties apart from others, as elements of an array. */
const INDEX = /^(?:0|[1-9]\d{0,9})$/;

/**
 * Gives an object a property that a peer has named, whatever the name.
 *
 * A key `__proto__` becomes a property like any other. Before the first key that is an index, V8 is made to keep the object's
 * elements in a hash table: else it reserves memory for all that lies below an element, 31 KB for the keys "1023" and
 * "2574", which a peer sends in 13 bytes.
 *
 * @param isSparse what the last call for this object gave; false before the first
 * @returns whether the elements are kept in a hash table by now
 */
export function setOwn(
  object: Record<string, unknown>,
  key: string,
  value: unknown,
  isSparse: boolean,
): boolean {
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
    return isSparse;
  }
  const becomesSparse = !isSparse && key.length > 0 && key.charCodeAt(0) <= 0x39 && INDEX.test(key);
  if (becomesSparse) {
    object[LARGEST_INDEX] = undefined;
    delete object[LARGEST_INDEX];
  }
  object[key] = value;
  return isSparse || becomesSparse;
}

/** Gives an object that has no indices yet all these properties, as {@link setOwn} does. */
export function setEach<T extends object>(object: T, entries: Iterable<readonly [string, unknown]>): T {
  let isSparse = false;
  for (const [key, value] of entries)
    isSparse = setOwn(object as Record<string, unknown>, key, value, isSparse);
  return object;
}

/**
 * A shallow copy of what a peer has sent. A spread would make elements of keys that are indices, as large as V8 makes them;
 * such keys come first.
 */
export function ownCopy(source: Readonly<Record<string, unknown>> | null): Record<string, unknown> {
  for (const first in source) {
    if (!INDEX.test(first)) break;
    return setEach({}, Object.entries(source));
  }
  return { ...source };
}
