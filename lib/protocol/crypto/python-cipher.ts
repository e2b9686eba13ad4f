import { createCipheriv, createDecipheriv } from 'node:crypto';
import { fromPythonJson, toPythonJson } from './python-json.js';
import { isObject } from '../values/unknown.js';

const BLOCK_BYTES = 16;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A body, and what makes it one of its kind. */
export interface PythonEnvelope {
  readonly body: unknown;
  /** Unix seconds. */
  readonly timestamp: number;
  readonly nonce: string;
}

/**
 * Python's encryption of bodies: the lower-case hex text of AES-128-CBC over JSON that NUL bytes pad to whole blocks. The key
 * is the IV too. It hides little and proves nothing; it exists because Python peers use it.
 */
export class PythonCipher {
  constructor(private readonly key: Buffer) {}

  /** @throws TypeError or RangeError if the value has no form in JSON */
  encrypt(value: unknown): Buffer {
    const text = Buffer.from(toPythonJson(value));
    const padded = Buffer.alloc(Math.ceil(text.length / BLOCK_BYTES) * BLOCK_BYTES);
    text.copy(padded);
    const cipher = createCipheriv('aes-128-cbc', this.key, this.key).setAutoPadding(false);
    return Buffer.from(Buffer.concat([cipher.update(padded), cipher.final()]).toString('hex'), 'latin1');
  }

  /** @throws Error if it is not a result of {@link encrypt} */
  decrypt(body: unknown): unknown {
    if (!(body instanceof Uint8Array)) throw new TypeError('not bytes');
    const hex = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('latin1');
    const bytes = Buffer.from(hex, 'hex');
    if (bytes.length === 0 || bytes.length % BLOCK_BYTES !== 0) throw new RangeError('not whole blocks');
    if (bytes.toString('hex') !== hex) throw new RangeError('not lower-case hex');
    const decipher = createDecipheriv('aes-128-cbc', this.key, this.key).setAutoPadding(false);
    const padded = Buffer.concat([decipher.update(bytes), decipher.final()]);
    return fromPythonJson(utf8.decode(withoutPadding(padded)));
  }

  /** @throws Error if it is not an envelope */
  decryptEnvelope(sealed: unknown): PythonEnvelope {
    const envelope = this.decrypt(sealed);
    if (!isObject(envelope) || !Object.hasOwn(envelope, 'body')) {
      throw new TypeError('no envelope');
    }
    const { body, timestamp, nonce } = envelope as Record<string, unknown>;
    if (typeof timestamp !== 'number' || !Number.isFinite(timestamp)) throw new TypeError('no timestamp');
    return { body, timestamp, nonce: nonceText(nonce) };
  }
}

const MAX_NONCE_CHARS = 64;

function nonceText(nonce: unknown): string {
  const isInteger = typeof nonce === 'bigint' || Number.isSafeInteger(nonce);
  if (typeof nonce !== 'string' && !isInteger) throw new TypeError('no nonce');
  const text = String(nonce);
  if (text === '' || text.length > MAX_NONCE_CHARS) throw new RangeError('a nonce of 1 to 64 characters');
  return text;
}

/** JSON holds no NUL byte, so those at the end are padding: less than a block. */
function withoutPadding(bytes: Buffer): Buffer {
  let { length } = bytes;
  while (length > bytes.length - BLOCK_BYTES && bytes[length - 1] === 0) length -= 1;
  return bytes.subarray(0, length);
}
