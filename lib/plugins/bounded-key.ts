import { createHash } from 'node:crypto';

/** Longest key that is kept as it is, in characters. */
const MAX_KEY_LENGTH = 128;

/** A key of bounded length: what is longer becomes its hash. Keys may be made of what a peer sent. */
export function boundedKey(key: string): string {
  return key.length <= MAX_KEY_LENGTH ? key : `#${createHash('sha256').update(key).digest('base64url')}`;
}
