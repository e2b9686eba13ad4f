import { inspect } from 'node:util';

/** What a plugin does while its store cannot be reached: admit (`open`), or refuse (`closed`). */
export type OnStoreError = 'open' | 'closed';

/** Time for an answer of a store, in milliseconds. */
export const DEFAULT_STORE_TIMEOUT_MS = 500;

/** @throws RangeError that names the option if it is not a number of at least `least`. */
export function atLeast(least: number, name: string, value: unknown): number {
  if (typeof value === 'number' && value >= least) return value;
  throw new RangeError(`${name} must be a number of at least ${least}, got ${inspect(value)}`);
}

/** @throws RangeError that names the option if it is not a finite number above 0. */
export function positive(name: string, value: unknown): number {
  if (typeof value === 'number' && value > 0 && value < Infinity) return value;
  throw new RangeError(`${name} must be a number above 0, got ${inspect(value)}`);
}

/** @throws RangeError that names the option if it is not a number from 0 to 1. */
export function fraction(name: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= 1) return value;
  throw new RangeError(`${name} must be a number from 0 to 1, got ${inspect(value)}`);
}

/** Whether to admit while the store is down. @throws RangeError if the option is neither `open` nor `closed`. */
export function letsThrough(name: string, value: OnStoreError): boolean {
  if (value === 'open' || value === 'closed') return value === 'open';
  throw new RangeError(`${name} must be 'open' or 'closed', got ${inspect(value)}`);
}
