/** Longer names are compared by their beginnings. */
const MAX_COMPARED = 64;
/** Names that differ in more are not alike, whatever their length. */
const MAX_DISTANCE = 8;

/**
 * The one whose name looks most like the name that was asked for; `undefined` where none is alike. A stranger decides what
 * is asked for, and there may be thousands of names: a comparison ends as soon as it cannot come to anything.
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

/** Two rows of the table, used again: there is no need for memory that a stranger's question takes. */
let row = new Uint8Array(MAX_COMPARED + 1);
let next = new Uint8Array(MAX_COMPARED + 1);

/** Levenshtein distance up to a limit, beyond which any larger number is as good as the right one. */
function editDistance(a: string, b: string, limit: number): number {
  const beyond = limit + 1;
  if (Math.abs(a.length - b.length) > limit) return beyond;
  for (let j = 0; j <= b.length; j++) row[j] = j;
  for (let i = 1; i <= a.length; i++) {
    // what lies further from the diagonal than the limit costs more than it
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
