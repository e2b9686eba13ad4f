import { createHash } from 'node:crypto';

/** A short hash of the body of an operation: an answer at the wrong caller has another. */
export function digestOf(body: string): string {
  return createHash('sha1').update(body).digest('hex').slice(0, 16);
}
