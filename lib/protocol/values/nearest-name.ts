/** Longer names are compared by their beginnings. */
const MAX_COMPARED = 64;
/** Names with a larger distance are not alike, even if they are long. */
const MAX_DISTANCE = 8;

/**
 * The item with the name that is nearest to the given one; `undefined` if none is alike. A peer may choose the given name, and
 * there may be thousands of known ones: a comparison stops as soon as its result cannot be the nearest.
 */
export function nearestName<T extends { readonly name: string }>(
  asked: string,
  known: readonly T[],
  most = Math.min(MAX_DISTANCE, Math.max(2, Math.floor(Math.min(asked.length, MAX_COMPARED) / 2))),
): T | undefined {
  const wanted = asked.slice(0, MAX_COMPARED);
  let limit = most;
  let best: T | undefined;
  for (const candidate of known) {
    const distance = editDistance(wanted, candidate.name.slice(0, MAX_COMPARED), limit);
    if (distance > limit) continue;
    best = candidate;
    limit = distance - 1; // the next one has to be better
    if (limit < 0) break;
  }
  return best;
}

/** Two rows of the table, reused: a peer's name must not cause allocations. */
let row = new Uint8Array(MAX_COMPARED + 1);
let next = new Uint8Array(MAX_COMPARED + 1);

/** Levenshtein distance; any number above the limit if the distance is above it. */
function editDistance(a: string, b: string, limit: number): number {
  const beyond = limit + 1;
  if (Math.abs(a.length - b.length) > limit) return beyond;
  for (let j = 0; j <= b.length; j++) row[j] = j;
  for (let i = 1; i <= a.length; i++) {
    // cells further from the diagonal than the limit are above it
    const from = Math.max(1, i - limit);
    const to = Math.min(b.length, i + limit);
    const letter = a.charCodeAt(i - 1);
    let left = from === 1 ? i : beyond;
    next[from - 1] = left;
    let least = left;
    for (let j = from; j <= to; j++) {
      const diagonal = (row[j - 1] as number) + (letter === b.charCodeAt(j - 1) ? 0 : 1);
      const above = j - i === limit ? beyond : (row[j] as number);
      left = Math.min(diagonal, above + 1, left + 1);
      next[j] = left;
      if (left < least) least = left;
    }
    if (least > limit) return beyond;
    [row, next] = [next, row];
  }
  return row[b.length] as number;
}
