import { inspect } from 'node:util';

/** @throws RangeError unless it is a number above 0, or `undefined`; with `orZero`, a number of at least 0 */
export function assertTime(name: string, given: unknown, orZero = false): void {
  if (given === undefined) return;
  if (typeof given === 'number' && (given > 0 || (orZero && given === 0))) return;
  throw new RangeError(
    `${name} must be a number ${orZero ? 'of at least 0' : 'above 0'}, got ${inspect(given)}`,
  );
}
