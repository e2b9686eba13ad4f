import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { AEAD_SUITES, type AeadSuite, isAeadSuite } from '../protocol/crypto/aead-keys.js';
import {
  checkKeyId,
  newAeadKeyText,
  readAeadKey,
  readPythonKey,
  type Secret,
} from '../protocol/crypto/keys.js';
import { AeadSecurity } from '../rpc/crypto/aead-security.js';
import { type CryptoStats, emptyStats } from '../rpc/crypto/crypto-stats.js';
import { KeyRing } from '../rpc/crypto/key-ring.js';
import { PythonKey, type PythonKeyOptions } from '../rpc/crypto/python-key.js';
import { PythonSecurity } from '../rpc/crypto/python-security.js';
import { RapProcessor } from '../pipeline/api.js';
import { type ConnectionSecurity, SECURITY } from '../rpc/connection/security.js';
import { isObject } from '../protocol/values/unknown.js';

/** `aead`: authenticated, between peers of this project. `rap-cbc`: the mode of Python's rap, which protects nothing. */
export type CryptoMode = 'aead' | 'rap-cbc';

/** Options of both sides. Times are in milliseconds. */
export interface CryptoOptions {
  /** Default `aead`. Never changed by what the other side offers. */
  mode?: CryptoMode | undefined;
  /** `aead`: the suites that may be used, in order of preference; the server's order decides. Default: both. */
  suites?: readonly AeadSuite[] | undefined;
  /**
   * `aead`: the name of this side, such as its service. Sides of the same name refuse each other, so that an attacker cannot
   * lead a connection of a process back to itself. Default: none.
   */
  name?: string | undefined;
  /** `aead`: a connection is replaced by a new one after this many frames in one direction. Default, and maximum: 2^31. */
  rekeyAfterFrames?: number | undefined;
  /** `aead`: the same after this many bytes. Default, and maximum: 2^36 (64 GiB), far below what AES-GCM allows for one key. */
  rekeyAfterBytes?: number | undefined;
  /** `rap-cbc`: how far the timestamp of a message may be off, into the past and into the future. Default 60,000, as Python's rap. */
  timeoutMs?: number | undefined;
  /** `rap-cbc`: how long a nonce is remembered beyond that. Default 120,000, as Python's rap; never less than `timeoutMs`. */
  nonceTimeoutMs?: number | undefined;
  /** `rap-cbc`: how often old nonces are dropped. Default 10,000, as Python's client. */
  intervalMs?: number | undefined;
  /** `rap-cbc`: Unix time in milliseconds. Default `Date.now`. */
  now?: (() => number) | undefined;
}

/** Options of a server. */
export interface CryptoServerOptions extends CryptoOptions {
  /** The keys of clients by their ids. Several: one for each client, or the old and the new one while they change. */
  keys: Readonly<Record<string, Secret>>;
  /** Whether clients that do not encrypt are refused. Default true. */
  required?: boolean | undefined;
}

/** Options of a client, which refuses a server without the key. */
export interface CryptoClientOptions extends CryptoOptions {
  keyId: string;
  key: Secret;
  /** `aead`: the required `name` of the server. Default: any server that has the key. */
  serverName?: string | undefined;
}

const NUMBERS = {
  rekeyAfterFrames: 2 ** 31,
  rekeyAfterBytes: 2 ** 36,
  timeoutMs: 60_000,
  nonceTimeoutMs: 120_000,
  intervalMs: 10_000,
} as const;

const MAX_NAME_BYTES = 128;

const OPTIONS = new Set([
  ...Object.keys(NUMBERS),
  'mode',
  'suites',
  'now',
  'keys',
  'required',
  'keyId',
  'key',
  'name',
  'serverName',
]);

/**
 * Encrypts a connection. Add one to the `processors` of the server and of each client:
 *
 *     new RapServer({ processors: [new CryptoProcessor({ keys: { demo_id: secret } })] });
 *     new RapClient({ processors: [new CryptoProcessor({ keyId: 'demo_id', key: secret })] });
 *
 * A key is the text that `CryptoProcessor.generateKey()` makes, or at least 32 random bytes, raw or as hex. In mode
 * `rap-cbc` it is 16 bytes or characters. If possible, use TLS 1.3 with client certificates instead.
 */
export class CryptoProcessor extends RapProcessor {
  readonly mode: CryptoMode;
  /** @internal */
  readonly [SECURITY]: ConnectionSecurity;

  readonly #stats = emptyStats();
  readonly #keys: {
    readonly ids: string[];
    current: string;
    add(id: string, secret: Secret): void;
    delete(id: string): boolean;
  };

  /** @throws TypeError or RangeError that names the option, or the id of the key, never the key. */
  constructor(options: CryptoServerOptions | CryptoClientOptions) {
    super();
    const numbers = check(options);
    const { mode = 'aead', suites = AEAD_SUITES } = options;
    const side = 'keys' in options ? 'server' : 'client';
    const shared = {
      side,
      required: 'keys' in options ? (options.required ?? true) : true,
      stats: this.#stats,
    } as const;
    this.mode = mode;
    if (mode === 'aead') {
      const keys = new KeyRing(() => randomBytes(32)); // a new one each time: nobody can know it
      const limits = { frames: numbers.rekeyAfterFrames, bytes: numbers.rekeyAfterBytes };
      const { name } = options;
      const serverName = 'keys' in options ? undefined : options.serverName;
      this[SECURITY] = new AeadSecurity({ ...shared, keys, suites, limits, name, serverName });
      this.#keys = secretsInto(keys, readAeadKey);
    } else {
      const pythonOptions = pythonKeyOptions(numbers, options.now ?? Date.now);
      const decoy = new PythonKey(randomBytes(16), pythonOptions);
      const keys = new KeyRing(() => decoy);
      this[SECURITY] = new PythonSecurity({ ...shared, keys });
      this.#keys = secretsInto(keys, (id, secret) => new PythonKey(readPythonKey(id, secret), pythonOptions));
    }
    if ('keys' in options) {
      for (const [id, secret] of Object.entries(options.keys)) this.addKey(id, secret);
      if (this.keyIds.length === 0) throw new RangeError('keys is empty: a server that encrypts has a key');
    } else this.addKey(options.keyId, options.key);
  }

  /** A new key for mode `aead`: 32 random bytes and a checksum, as 48 characters of base64url. */
  static generateKey(): string {
    return newAeadKeyText();
  }

  /** Ids of the keys. */
  get keyIds(): string[] {
    return this.#keys.ids;
  }

  /**
   * Adds or replaces a key. It applies to new connections; a client uses the key that was added last.
   *
   * @throws as the constructor
   */
  addKey(id: string, secret: Secret): void {
    this.#keys.add(checkKeyId(id), secret);
  }

  /** Removes a key: new connections cannot use it, open ones go on. @returns false if there was none */
  removeKey(id: string): boolean {
    if (this[SECURITY].side === 'client' && id === this.#keys.current) {
      throw new RangeError(`the key '${id}' is the one that this client uses: add another first`);
    }
    return this.#keys.delete(id);
  }

  /** Counters of accepted and refused connections and frames since the start. */
  stats(): Readonly<CryptoStats> {
    return { ...this.#stats };
  }
}

function secretsInto<Key>(ring: KeyRing<Key>, read: (id: string, secret: Secret) => Key) {
  return {
    get ids() {
      return ring.ids;
    },
    get current() {
      return ring.current;
    },
    add(id: string, secret: Secret) {
      ring.set(id, read(id, secret));
      ring.current = id;
    },
    delete: (id: string) => ring.delete(id),
  };
}

function pythonKeyOptions(
  { timeoutMs, nonceTimeoutMs, intervalMs }: Record<keyof typeof NUMBERS, number>,
  now: () => number,
): PythonKeyOptions {
  // by its prefix, a nonce of this side is recognised without storing it
  const prefix = randomBytes(8).toString('hex');
  let count = 0;
  return {
    now,
    nonce: () => prefix + (count++).toString(36),
    isOwnNonce: (nonce) => nonce.startsWith(prefix),
    timeoutMs,
    nonceTimeoutMs,
    intervalMs,
  };
}

/** Checks options at run time, for callers without TypeScript. @returns the numbers with their defaults */
function check(options: CryptoServerOptions | CryptoClientOptions): Record<keyof typeof NUMBERS, number> {
  const given = options as unknown as Record<string, unknown>;
  for (const name of Object.keys(given)) {
    if (!OPTIONS.has(name)) throw new RangeError(`CryptoProcessor: ${name} is not an option`);
  }
  const { mode = 'aead', suites, keys, keyId, required } = given;
  if (mode !== 'aead' && mode !== 'rap-cbc') {
    throw new RangeError(`CryptoProcessor: mode is 'aead' or 'rap-cbc', not ${inspect(mode)}`);
  }
  if ((keys === undefined) === (keyId === undefined)) {
    throw new TypeError('CryptoProcessor: a server has keys, a client has keyId and key');
  }
  if (keys !== undefined && !isObject(keys)) {
    throw new TypeError('CryptoProcessor: keys is an object of ids and keys');
  }
  if (required !== undefined && keys === undefined) {
    throw new TypeError('CryptoProcessor: required is for servers; a client never goes without');
  }
  if (suites !== undefined && !(Array.isArray(suites) && suites.length > 0 && suites.every(isAeadSuite))) {
    throw new RangeError(`CryptoProcessor: suites is a list of ${AEAD_SUITES.join(', ')}`);
  }
  checkNames(given, mode);
  const numbers: Record<keyof typeof NUMBERS, number> = { ...NUMBERS };
  for (const name of Object.keys(NUMBERS) as (keyof typeof NUMBERS)[]) {
    const value = given[name];
    if (value === undefined) continue;
    if (typeof value !== 'number' || !(value > 0)) {
      throw new RangeError(`CryptoProcessor: ${name} must be above 0, got ${inspect(value)}`);
    }
    if (name.startsWith('rekey') && value > NUMBERS[name]) {
      throw new RangeError(`CryptoProcessor: ${name} must be at most ${NUMBERS[name]}: keys wear out`);
    }
    numbers[name] = value;
  }
  return numbers;
}

function checkNames(given: Readonly<Record<string, unknown>>, mode: CryptoMode): void {
  for (const option of ['name', 'serverName']) {
    const value = given[option];
    if (value === undefined) continue;
    const bytes = typeof value === 'string' ? Buffer.byteLength(value) : 0;
    if (bytes === 0 || bytes > MAX_NAME_BYTES) {
      throw new RangeError(`CryptoProcessor: ${option} must be a text of 1 to ${MAX_NAME_BYTES} bytes`);
    }
    if (mode !== 'aead') throw new TypeError(`CryptoProcessor: ${option} needs mode 'aead'`);
  }
  const { keys, name, serverName } = given;
  if (serverName === undefined) return;
  if (keys !== undefined) throw new TypeError('CryptoProcessor: serverName is for clients');
  if (serverName === name) {
    throw new RangeError('CryptoProcessor: a client does not call a server of its own name');
  }
}
