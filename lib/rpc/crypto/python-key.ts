import { NonceCache } from '../../protocol/crypto/nonce-cache.js';
import { PythonCipher } from '../../protocol/crypto/python-cipher.js';
import { cryptoFault } from '../../protocol/frame-seal.js';

/** What all keys of a processor share. */
export interface PythonKeyOptions {
  /** Unix time in milliseconds: the wall clock, since both sides must agree on it. */
  readonly now: () => number;
  /** A new nonce, never used before. */
  readonly nonce: () => string;
  /** Whether this side has made that nonce: then its message was sent back. */
  readonly isOwnNonce: (nonce: string) => boolean;
  /** How far the timestamp of a message may be off, in either direction. */
  readonly timeoutMs: number;
  /** How long a nonce is remembered beyond that. */
  readonly nonceTimeoutMs: number;
  /** How often old nonces are dropped. */
  readonly intervalMs: number;
}

/** One key of Python's mode, with the nonces that were received under it on all connections. */
export class PythonKey {
  readonly #cipher: PythonCipher;
  readonly #nonces: NonceCache;

  constructor(
    bytes: Buffer,
    private readonly options: PythonKeyOptions,
  ) {
    const { timeoutMs, nonceTimeoutMs, intervalMs } = options;
    this.#cipher = new PythonCipher(bytes);
    this.#nonces = new NonceCache({
      // a nonce must outlive every moment in which its message would be accepted
      keepSeconds: (timeoutMs + Math.max(nonceTimeoutMs, timeoutMs)) / 1000 + 1,
      sweepSeconds: intervalMs / 1000,
    });
  }

  /** Encrypts a body. @throws TypeError or RangeError if it has no form in JSON */
  seal(body: unknown): Buffer {
    const { now, nonce } = this.options;
    return this.#cipher.encrypt({ body, timestamp: Math.floor(now() / 1000), nonce: nonce() });
  }

  /** Decrypts a body. @throws if it is not one, its timestamp is out of range, or it was seen before */
  open(sealed: unknown): unknown {
    const { body, timestamp, nonce } = this.#cipher.decryptEnvelope(sealed);
    const { now, timeoutMs, isOwnNonce } = this.options;
    const seconds = now() / 1000;
    // whole seconds, as the other side sends them
    if (Math.abs(Math.floor(seconds) - Math.floor(timestamp)) > timeoutMs / 1000) {
      throw cryptoFault('a message is not of this time');
    }
    if (isOwnNonce(nonce)) throw cryptoFault('a message of this side came back');
    if (!this.#nonces.add(nonce, timestamp, seconds)) throw cryptoFault('a message was seen before');
    return body;
  }

  /** `check_body` of DECLARE: the id of the key. */
  sealId(id: string): Buffer {
    return this.#cipher.encrypt(id);
  }

  provesId(sealed: unknown, id: string): boolean {
    try {
      return this.#cipher.decrypt(sealed) === id;
    } catch {
      return false;
    }
  }
}
