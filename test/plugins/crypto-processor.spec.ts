import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { KeyRing } from '../../lib/rpc/crypto/key-ring.js';
import { CryptoProcessor, RapClient, RapServer, type CryptoServerOptions } from '../../lib/index.js';

const key = CryptoProcessor.generateKey();
const secret = randomBytes(32);
const make = (options: object): CryptoProcessor => new CryptoProcessor(options as CryptoServerOptions);

it.each([
  ['bytes', secret],
  ['more bytes', randomBytes(64)],
  ['a Uint8Array', new Uint8Array(secret)],
  ['hex', secret.toString('hex')],
  ['the text of generateKey()', key],
])('takes a key of %s', (_what, it) => expect(make({ keys: { demo: it } }).keyIds).toEqual(['demo']));

it.each<[string, unknown, string]>([
  ['an empty text', '', "the key 'demo' is empty"],
  ['no bytes', Buffer.alloc(0), "the key 'demo' has 0 bytes"],
  ['31 bytes', secret.subarray(1), "the key 'demo' has 31 bytes"],
  ['31 bytes of hex', secret.subarray(1).toString('hex'), "the key 'demo' has 31 bytes"],
  ["a key of rap's", 'xxxxxxxxxxxxxxxx', 'a passphrase is not a key'],
  ['a passphrase', 'correct horse battery staple, and some more words', 'a passphrase is not a key'],
  [
    'a passphrase of words with hyphens',
    'my-very-long-passphrase-for-the-production-system',
    'a passphrase is not a key',
  ],
  [
    'a passphrase as long as a made key',
    'My-very-long-passphrase-for-the-production-2026x',
    'a passphrase is not a key',
  ],
  ['base64 of nobody knows what', secret.toString('base64'), 'a passphrase is not a key'],
  [
    'a made key with one character changed',
    key.replace(/^./, (it) => (it === 'A' ? 'B' : 'A')),
    'a passphrase is not a key',
  ],
  ['a made key that was cut', key.slice(0, -4), 'a passphrase is not a key'],
  ['NUL bytes', Buffer.alloc(32), "the key 'demo' is not random"],
  ['one letter', 'ab'.repeat(32), "the key 'demo' is not random"],
  ['a number', 5, "the key 'demo' must be a string or a Uint8Array"],
  ['nothing', undefined, "the key 'demo' must be a string or a Uint8Array"],
])('refuses %s for a key, names its id and not the key', (_what, it, message) => {
  let error: Error | undefined;
  try {
    make({ keys: { demo: it } });
  } catch (thrown) {
    error = thrown as Error;
  }
  expect(error?.message).toContain(message);
  if (typeof it === 'string' && it !== '') expect(error?.message).not.toContain(it);
});

it.each<[string, unknown]>([
  ['15 characters', 'x'.repeat(15)],
  ['17 characters', 'x'.repeat(17)],
  ['16 characters of 17 bytes', 'é' + 'x'.repeat(15)],
  ['nothing', ''],
  ['15 bytes', Buffer.alloc(15)],
])("refuses %s for a key of mode 'rap-cbc'", (_what, it) => {
  expect(() => make({ mode: 'rap-cbc', keys: { demo: it } })).toThrow("mode 'rap-cbc' takes exactly 16");
});

it("takes 16 bytes or characters in mode 'rap-cbc'", () => {
  expect(make({ mode: 'rap-cbc', keys: { a: 'x'.repeat(16), b: Buffer.alloc(16, 1) } }).keyIds).toEqual([
    'a',
    'b',
  ]);
});

it.each<[string, object, string]>([
  ['no side', {}, 'a server has keys, a client has keyId and key'],
  ['both sides', { keys: { a: key }, keyId: 'a', key }, 'a server has keys'],
  ['no keys', { keys: {} }, 'keys is empty'],
  ['keys that are none', { keys: 'a' }, 'keys is an object'],
  ['an empty id', { keys: { '': key } }, 'a key id has 1 to 128 bytes'],
  ['a long id', { keyId: 'x'.repeat(129), key }, 'a key id has 1 to 128 bytes'],
  ['an id that is not text', { keyId: 5, key }, 'a key id must be a string'],
  ['a mode', { mode: 'none', keys: { a: key } }, "mode is 'aead' or 'rap-cbc'"],
  ['no suites', { suites: [], keys: { a: key } }, 'suites is a list of'],
  ['a suite', { suites: ['aes-128-ecb'], keys: { a: key } }, 'suites is a list of'],
  ['an option', { keys: { a: key }, timeout: 5 }, 'timeout is not an option'],
  ['a time', { keys: { a: key }, timeoutMs: -1 }, 'timeoutMs must be above 0'],
  [
    'keys that wear out',
    { keys: { a: key }, rekeyAfterBytes: 2 ** 37 },
    'at most 68719476736: keys wear out',
  ],
  [
    'keys without an end',
    { keyId: 'a', key, rekeyAfterFrames: Infinity },
    'rekeyAfterFrames must be at most',
  ],
  ['required on a client', { keyId: 'a', key, required: false }, 'required is for servers'],
])('refuses %s', (_what, options, message) => expect(() => make(options)).toThrow(message));

const server = (): CryptoProcessor => make({ keys: { a: key } });
const client = (): CryptoProcessor => make({ keyId: 'a', key });

it('belongs on its side, and once', () => {
  expect(() => new RapServer({ processors: [client()] })).toThrow('on a server takes keys');
  expect(() => new RapClient({ processors: [server()] })).toThrow('on a client takes keyId and key');
  expect(() => new RapServer({ processors: [server(), server()] })).toThrow(
    'a connection has one encryption',
  );
});

it('makes keys that it takes, another each time', () => {
  const keys = Array.from({ length: 50 }, () => CryptoProcessor.generateKey());
  expect(new Set(keys).size).toBe(50);
  for (const it of keys) expect(Buffer.from(it, 'base64url')).toHaveLength(36);
});

it('puts another key each time in the place of one that is not there, and shows none', () => {
  const ring = new KeyRing(() => randomBytes(32));
  ring.set('demo', secret);
  expect(ring.get('demo')).toBe(secret);
  expect(ring.get('nope')).not.toEqual(ring.get('nope'));
  for (const side of [
    { keys: { demo: key } },
    { keyId: 'demo', key },
    { mode: 'rap-cbc', keys: { demo: 'x'.repeat(16) } },
  ]) {
    const shown = [ring, make(side)].map(
      (it) => inspect(it, { depth: 20, showHidden: true }) + JSON.stringify(it),
    );
    expect(shown.join('\n')).not.toMatch(/Buffer|Uint8Array|decoy/i);
  }
});
