/** A server's summary of the numbers that it received. */
export interface Tally {
  count: number;
  sum: number;
}

export function isTally(value: unknown): value is Tally {
  return typeof value === 'object' && value !== null && 'count' in value && 'sum' in value;
}

export function addTo(tally: Tally, value: number): void {
  tally.count += 1;
  tally.sum += value;
}
