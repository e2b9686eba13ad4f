import { createHash, randomBytes } from 'node:crypto';

/** A key with fewer different bytes is not random: 32 random ones have 30. */
const MIN_DIFFERENT_BYTES = 12;
const MIN_AEAD_BYTES = 32;
/** By these, a text is recognised as a generated key: a passphrase does not pass. */
const CHECKSUM_BYTES = 4;
const PYTHON_BYTES = 16;
const MAX_ID_BYTES = 128;

/** A secret: bytes, or text as the mode reads it. */
export type Secret = string | Uint8Array;

/**
 * Reads a key of the authenticated mode: at least 32 random bytes, their text in hex, or what {@link newAeadKeyText} makes.
 *
 * @throws TypeError or RangeError that names the key's id, never the key.
 */
export function readAeadKey(id: string, secret: Secret): Buffer {
  const bytes = typeof secret === 'string' ? fromText(id, secret) : fromBytes(id, secret);
  if (bytes.length < MIN_AEAD_BYTES) {
    throw new RangeError(
      `the key '${id}' has ${bytes.length} bytes: mode 'aead' takes at least ${MIN_AEAD_BYTES}`,
    );
  }
  if (new Set(bytes).size < MIN_DIFFERENT_BYTES) {
    throw new RangeError(`the key '${id}' is not random: make one with CryptoProcessor.generateKey()`);
  }
  return bytes;
}

/** Makes a key of the authenticated mode: base64url of random bytes with their checksum, all of which are the key. */
export function newAeadKeyText(): string {
  const random = randomBytes(MIN_AEAD_BYTES);
  return Buffer.concat([random, checksumOf(random)]).toString('base64url');
}

/**
 * Reads a key of Python's mode: 16 bytes, or a text of 16 ASCII characters.
 *
 * @throws as {@link readAeadKey}
 */
export function readPythonKey(id: string, secret: Secret): Buffer {
  const bytes = typeof secret === 'string' ? Buffer.from(secret, 'utf8') : fromBytes(id, secret);
  if (bytes.length !== PYTHON_BYTES) {
    throw new RangeError(
      `the key '${id}' has ${bytes.length} bytes: mode 'rap-cbc' takes exactly ${PYTHON_BYTES}`,
    );
  }
  return bytes;
}

/** @throws TypeError or RangeError if this is not a valid key id */
export function checkKeyId(id: unknown): string {
  if (typeof id !== 'string') throw new TypeError('a key id must be a string');
  const bytes = Buffer.byteLength(id);
  if (bytes === 0 || bytes > MAX_ID_BYTES) {
    throw new RangeError(`a key id has 1 to ${MAX_ID_BYTES} bytes, this one ${bytes}`);
  }
  return id;
}

function fromBytes(id: string, secret: unknown): Buffer {
  if (!(secret instanceof Uint8Array))
    throw new TypeError(`the key '${id}' must be a string or a Uint8Array`);
  return Buffer.from(secret); // a copy: the caller may wipe its own
}

function fromText(id: string, text: string): Buffer {
  if (text === '') throw new RangeError(`the key '${id}' is empty`);
  if (text.length % 2 === 0 && /^[0-9a-f]+$/i.test(text)) return Buffer.from(text, 'hex');
  const bytes = Buffer.from(text, 'base64url');
  const random = bytes.subarray(0, MIN_AEAD_BYTES);
  if (bytes.toString('base64url') === text && bytes.subarray(MIN_AEAD_BYTES).equals(checksumOf(random))) {
    return bytes;
  }
  throw new TypeError(
    `the key '${id}' is neither hex nor made by CryptoProcessor.generateKey(): a passphrase is not a key`,
  );
}

function checksumOf(random: Uint8Array): Buffer {
  return createHash('sha256').update('rap aead key').update(random).digest().subarray(0, CHECKSUM_BYTES);
}
