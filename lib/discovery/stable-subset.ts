/**
 * The same `size` of the items each time, whatever their order: those with the lowest hashes. A new item displaces at most one.
 *
 * @param seed of this process: if all clients took the same subset, the other servers would have no calls
 */
export function stableSubset<T>(
  items: readonly T[],
  size: number,
  seed: number,
  keyOf: (item: T) => string,
): readonly T[] {
  if (items.length <= size) return items;
  return items
    .map((item) => ({ item, hash: hashOf(keyOf(item), seed) }))
    .toSorted((a, b) => a.hash - b.hash)
    .slice(0, size)
    .map(({ item }) => item);
}

/** FNV-1a with the finisher of MurmurHash3, which spreads addresses that differ in one digit. */
function hashOf(text: string, seed: number): number {
  let hash = (0x811c_9dc5 ^ seed) | 0;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x0100_0193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
