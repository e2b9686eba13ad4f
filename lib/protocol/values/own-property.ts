/** The largest index that an array can have. */
const LARGEST_INDEX = 4_294_967_294;

/** Keys that are indices to V8, which stores such properties separately, as the elements of an array. */
const INDEX = /^(?:0|[1-9]\d{0,9})$/;

/**
 * Sets a property whose name comes from a peer, whatever the name.
 *
 * A key `__proto__` becomes a property like any other. Before the first key that is an index, V8 is made to keep the object's
 * elements in a hash table: otherwise it reserves memory for all indices below, 31 KB for the keys "1023" and
 * "2574", which a peer sends in 13 bytes.
 *
 * @param isSparse what the last call for this object returned; false for the first call
 * @returns whether the elements are in a hash table now
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

/** Sets all these properties of an object that has no indices yet, as {@link setOwn} does. */
export function setEach<T extends object>(object: T, entries: Iterable<readonly [string, unknown]>): T {
  let isSparse = false;
  for (const [key, value] of entries)
    isSparse = setOwn(object as Record<string, unknown>, key, value, isSparse);
  return object;
}

/**
 * A shallow copy of an object from a peer. A spread would let V8 reserve memory for keys that are indices; such keys come
 * first.
 */
export function ownCopy(source: Readonly<Record<string, unknown>> | null): Record<string, unknown> {
  for (const first in source) {
    if (!INDEX.test(first)) break;
    return setEach({}, Object.entries(source));
  }
  return { ...source };
}
