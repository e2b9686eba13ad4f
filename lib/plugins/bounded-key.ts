import { createHash } from 'node:crypto';
import { inspect } from 'node:util';

/** Longest key that is kept as it is, in characters. */
const MAX_KEY_LENGTH = 128;

/**
 * A key of bounded length: what is longer becomes its hash. Keys may be made of what a peer sent.
 *
 * @throws TypeError that names `where` the key comes from, and is no text
 */
export function boundedKey(where: string, key: unknown): string {
  if (typeof key !== 'string')
    throw new TypeError(`${where} must give a text, got ${inspect(key, { depth: 0 }).slice(0, 128)}`);
  return key.length <= MAX_KEY_LENGTH ? key : `#${createHash('sha256').update(key).digest('base64url')}`;
}
