import { createHash, hkdfSync } from 'node:crypto';

/** Version of the authenticated mode. */
export const AEAD_VERSION = 1;

/** Bytes of the random value that either side gives. */
export const RANDOM_BYTES = 32;

/** Bytes of the server's proof that it has the key. */
export const CONFIRM_BYTES = 32;

/** What a body can be sealed with, in order of preference: names of `node:crypto`. */
export const AEAD_SUITES = ['aes-128-gcm', 'chacha20-poly1305'] as const;

export type AeadSuite = (typeof AEAD_SUITES)[number];

const KEY_BYTES: Readonly<Record<AeadSuite, number>> = { 'aes-128-gcm': 16, 'chacha20-poly1305': 32 };
const IV_BYTES = 12;

/** Key and IV of one direction. */
export interface DirectionKeys {
  readonly key: Buffer;
  readonly iv: Buffer;
}

/** What both sides know once DECLARE and its answer have arrived. */
export interface AeadSecrets {
  /** The pre-shared key. */
  readonly key: Uint8Array;
  readonly suite: AeadSuite;
  /** The random values, the client's and the server's. */
  readonly clientRandom: Uint8Array;
  readonly serverRandom: Uint8Array;
}

export function isAeadSuite(name: unknown): name is AeadSuite {
  return AEAD_SUITES.some((suite) => suite === name);
}

/** The server's proof, over the exact bytes of DECLARE. It goes into the answer. */
export function confirmation(secrets: AeadSecrets, declare: Uint8Array): Buffer {
  return expand(secrets, 'confirm', [declare], CONFIRM_BYTES);
}

/** The keys of a connection, derived from the exact bytes of DECLARE and of its answer. */
export function connectionKeys(
  secrets: AeadSecrets,
  declare: Uint8Array,
  answer: Uint8Array,
): { client: DirectionKeys; server: DirectionKeys } {
  const keyBytes = KEY_BYTES[secrets.suite];
  const sideBytes = keyBytes + IV_BYTES;
  const all = expand(secrets, 'keys', [declare, answer], 2 * sideBytes);
  const side = (from: number): DirectionKeys => ({
    key: all.subarray(from, from + keyBytes),
    iv: all.subarray(from + keyBytes, from + sideBytes),
  });
  return { client: side(0), server: side(sideBytes) };
}

/** HKDF-SHA256(key, salt = both randoms, info = "rap aead v1 <label> <suite>" + SHA-256(frames)). */
function expand(
  { key, suite, clientRandom, serverRandom }: AeadSecrets,
  label: 'confirm' | 'keys',
  frames: readonly Uint8Array[],
  bytes: number,
): Buffer {
  const hash = createHash('sha256');
  for (const frame of frames) hash.update(frame);
  const info = Buffer.concat([Buffer.from(`rap aead v${AEAD_VERSION} ${label} ${suite}`), hash.digest()]);
  const salt = Buffer.concat([clientRandom, serverRandom]);
  return Buffer.from(hkdfSync('sha256', key, salt, info, bytes));
}
