import type { ValidationDetail } from '../../lib/index.js';

/** What a `ParseError` says of each invalid value. */
export const details = (error: Record<string, unknown>): ValidationDetail[] =>
  error['details'] as ValidationDetail[];
