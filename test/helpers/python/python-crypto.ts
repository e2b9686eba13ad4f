import { createCipheriv, createDecipheriv } from 'node:crypto';

/** The key of `crypto.json`, and the second in which it was recorded. */
export const PYTHON_KEY = 'xxxxxxxxxxxxxxxx';
export const RECORDED_AT = 1_795_340_897;

/** Python's encryption, without the code under test. */
export function pythonSeal(text: string | Buffer, key = PYTHON_KEY): Buffer {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  const padded = Buffer.concat([bytes, Buffer.alloc((16 - (bytes.length % 16)) % 16)]);
  const cipher = createCipheriv('aes-128-cbc', key, key).setAutoPadding(false);
  return Buffer.from(Buffer.concat([cipher.update(padded), cipher.final()]).toString('hex'));
}

export function pythonOpen(sealed: unknown, key = PYTHON_KEY): string {
  const bytes = Buffer.from((sealed as Buffer).toString('latin1'), 'hex');
  const decipher = createDecipheriv('aes-128-cbc', key, key).setAutoPadding(false);
  return Buffer.concat([decipher.update(bytes), decipher.final()]).toString('utf8');
}

let nonces = 0;

/** A body as Python has it, with a nonce of its own if none is given. */
export function pythonBody(
  body: unknown,
  {
    timestamp = RECORDED_AT,
    nonce = `test${nonces++}`,
    key = PYTHON_KEY,
  }: { timestamp?: unknown; nonce?: unknown; key?: string } = {},
): Buffer {
  const number = typeof nonce === 'bigint' ? String(nonce) : JSON.stringify(nonce);
  return pythonSeal(
    `{"body": ${JSON.stringify(body)}, "timestamp": ${JSON.stringify(timestamp)}, "nonce": ${number}}`,
    key,
  );
}

/** What an envelope says, but for the nonce: the one part that may differ from a recording, and how long it is. */
export function withoutNonce(sealed: unknown): string {
  return pythonOpen(sealed)
    .replace(/"nonce": (?:\d+|"[^"]*")/, '"nonce": *')
    .replace(/\0+$/, '');
}
