import { createHash } from 'node:crypto';
import { inspect } from 'node:util';

/** Longest key that is kept as it is, in characters. */
const MAX_KEY_LENGTH = 128;

/**
 * A key of limited length: a longer one is replaced by its hash. Keys may be made of what a peer sent.
 *
 * @param origin what the key comes from, for the error
 * @throws TypeError if the key is not a text
 */
export function boundedKey(origin: string, key: unknown): string {
  if (typeof key !== 'string')
    throw new TypeError(`${origin} must give a text, got ${inspect(key, { depth: 0 }).slice(0, 128)}`);
  return key.length <= MAX_KEY_LENGTH ? key : `#${createHash('sha256').update(key).digest('base64url')}`;
}
