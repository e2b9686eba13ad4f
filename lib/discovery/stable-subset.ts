import { subsetOf } from '../cluster/balancing/subset.js';

/**
 * The same `size` of the items each time, whatever their order. A new item displaces at most one.
 *
 * @param seed of this process: if all clients took the same subset, the other servers would have no calls
 * @param keyOf what tells items apart
 */
export function stableSubset<T>(
  items: readonly T[],
  size: number,
  seed: number,
  keyOf: (item: T) => string,
): readonly T[] {
  if (items.length <= size) return items;
  const chosen = new Set(subsetOf(items.map(keyOf), { size: Math.floor(size), key: String(seed) }));
  return items.filter((item) => chosen.has(keyOf(item)));
}
