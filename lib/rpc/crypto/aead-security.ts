import { randomBytes, timingSafeEqual } from 'node:crypto';
import {
  AEAD_VERSION,
  type AeadSecrets,
  type AeadSuite,
  CONFIRM_BYTES,
  confirmation,
  connectionKeys,
  isAeadSuite,
  RANDOM_BYTES,
} from '../../protocol/crypto/aead-keys.js';
import { AeadSeal, type AeadSealOptions, type WearLimits } from '../../protocol/crypto/aead-seal.js';
import type { Fault } from '../../protocol/fault.js';
import { cryptoFault, type FrameSeal } from '../../protocol/frame-seal.js';
import type { Link } from '../../protocol/link.js';
import type {
  AcceptedDeclare,
  ClientHandshake,
  ConnectionSecurity,
  SecurityHooks,
  ServerHandshake,
} from '../connection/security.js';
import type { CryptoStats } from './crypto-stats.js';
import type { KeyRing } from './key-ring.js';
import { isObject } from '../../protocol/values/unknown.js';

export interface AeadOptions {
  readonly side: 'client' | 'server';
  readonly keys: KeyRing<Buffer>;
  /** The suites that are used, in order of preference. */
  readonly suites: readonly AeadSuite[];
  readonly limits: WearLimits;
  /** Whether a server refuses clients that do not encrypt. */
  readonly required: boolean;
  /** Name of this side: it refuses another side of the same name. */
  readonly name?: string | undefined;
  /** The name that the server must have. */
  readonly serverName?: string | undefined;
  readonly stats: CryptoStats;
}

/** The authenticated mode: DECLARE and its answer agree on keys, and every frame after them is sealed. */
export class AeadSecurity implements ConnectionSecurity {
  constructor(private readonly options: AeadOptions) {}

  get side(): 'client' | 'server' {
    return this.options.side;
  }

  client(link: Link, hooks: SecurityHooks): ClientHandshake {
    return new AeadClient(this.options, link, hooks);
  }

  server(link: Link, hooks: SecurityHooks): ServerHandshake {
    return new AeadServer(this.options, link, hooks);
  }
}

class AeadClient implements ClientHandshake {
  readonly #keyId: string;
  readonly #random = randomBytes(RANDOM_BYTES);

  constructor(
    private readonly options: AeadOptions,
    readonly link: Link,
    private readonly hooks: SecurityHooks,
  ) {
    this.#keyId = options.keys.current;
  }

  declare(): Readonly<Record<string, unknown>> {
    const { suites, name } = this.options;
    const offer = { v: AEAD_VERSION, key_id: this.#keyId, random: this.#random, suites, records: true };
    return { aead: { ...offer, ...(name !== undefined && { name }) } };
  }

  answered(answer: Readonly<Record<string, unknown>>, sent: Buffer, received: Buffer): FrameSeal {
    const { keys, suites, stats } = this.options;
    try {
      const { suite, random, confirm, records, name } = readAnswer(answer['aead'], suites);
      const secrets: AeadSecrets = {
        key: keys.get(this.#keyId),
        suite,
        clientRandom: this.#random,
        serverRandom: random,
      };
      if (!timingSafeEqual(confirm, confirmation(secrets, sent))) {
        throw cryptoFault(`the server did not prove that it has the key '${this.#keyId}'`);
      }
      this.#checkName(name);
      const { client, server } = connectionKeys(secrets, sent, received);
      stats.secured += 1;
      return sealOf(this.options, this.hooks, { suite, records, send: client, receive: server });
    } catch (error) {
      stats.refused += 1;
      throw error;
    }
  }

  failed(fault: Fault): Fault {
    this.options.stats.failed += 1;
    return fault;
  }

  /** Any holder of the key can be the server: the name says which one it is. It cannot be forged, as the keys depend on it. */
  #checkName(name: string | undefined): void {
    const { name: own, serverName } = this.options;
    if (serverName !== undefined && name !== serverName) {
      throw cryptoFault(`the server is called ${shown(name)}, not ${shown(serverName)}`);
    }
    if (own !== undefined && name === own) {
      throw cryptoFault(`the server has the name of this client, ${shown(own)}`);
    }
  }
}

class AeadServer implements ServerHandshake {
  readonly explains = false;
  #keyId = '';
  #proven = false;

  constructor(
    private readonly options: AeadOptions,
    readonly link: Link,
    private readonly hooks: SecurityHooks,
  ) {}

  accept(declared: Readonly<Record<string, unknown>>, received: Buffer): AcceptedDeclare | undefined {
    const { keys, suites, required, name: own, stats } = this.options;
    const offered = declared['aead'];
    if (offered === undefined && !required) return undefined;
    try {
      const { keyId, suite, random, records, name } = readOffer(offered, suites);
      if (own !== undefined && name === own) {
        throw cryptoFault(`the client has the name of this server, ${shown(own)}`);
      }
      this.#keyId = keyId;
      // neither the answer nor the time it takes shows whether there is such a key
      const secrets: AeadSecrets = {
        key: keys.get(keyId),
        suite,
        clientRandom: random,
        serverRandom: randomBytes(RANDOM_BYTES),
      };
      const confirm = confirmation(secrets, received);
      return {
        answer: {
          aead: {
            v: AEAD_VERSION,
            random: secrets.serverRandom,
            suite,
            confirm,
            ...(records && { records }),
            ...(own !== undefined && { name: own }),
          },
        },
        seal: (sent) => {
          const { client, server } = connectionKeys(secrets, received, sent);
          return sealOf(this.options, this.hooks, { suite, records, send: server, receive: client });
        },
      };
    } catch (error) {
      stats.refused += 1;
      throw error;
    }
  }

  proven(): void {
    this.#proven = true;
    this.options.stats.secured += 1;
  }

  failed(fault: Fault): Fault {
    const { stats, keys } = this.options;
    if (this.#proven) {
      stats.failed += 1;
      return fault;
    }
    stats.refused += 1;
    const id = shown(this.#keyId);
    return cryptoFault(
      keys.has(this.#keyId)
        ? `the client did not prove that it has the key ${id}`
        : `the client uses the key ${id}, which is not among those of this server`,
      fault,
    );
  }
}

type Agreed = Omit<AeadSealOptions, 'limits' | 'onWorn'>;

function sealOf({ limits, stats }: AeadOptions, { retire }: SecurityHooks, agreed: Agreed): FrameSeal {
  const onWorn = (): void => {
    stats.retired += 1;
    retire();
  };
  return new AeadSeal({ ...agreed, limits, onWorn });
}

interface Said {
  readonly random: Buffer;
  readonly suite: AeadSuite;
  readonly records: boolean;
  readonly name: string | undefined;
}

/** `{v: 1, key_id, random: 32 bytes, suites: [...], records?, name?}` */
function readOffer(offer: unknown, suites: readonly AeadSuite[]): Said & { readonly keyId: string } {
  const map = readMap(offer, 'the client does not encrypt');
  const { key_id: keyId, random, suites: offered, records, name } = map;
  const suite = Array.isArray(offered) ? suites.find((own) => offered.includes(own)) : undefined;
  if (!suite) throw cryptoFault('the client knows no suite that this server allows');
  if (typeof keyId !== 'string') throw cryptoFault('DECLARE names no key');
  return {
    keyId,
    random: readBytes(random, RANDOM_BYTES),
    suite,
    records: records === true,
    name: readName(name),
  };
}

/** `{v: 1, random: 32 bytes, suite, confirm: 32 bytes, records?, name?}` */
function readAnswer(answer: unknown, suites: readonly AeadSuite[]): Said & { readonly confirm: Buffer } {
  const { random, suite, confirm, records, name } = readMap(answer, 'the server does not encrypt');
  if (!isAeadSuite(suite) || !suites.includes(suite)) {
    throw cryptoFault('the server took a suite that was not offered');
  }
  return {
    random: readBytes(random, RANDOM_BYTES),
    suite,
    confirm: readBytes(confirm, CONFIRM_BYTES),
    records: records === true,
    name: readName(name),
  };
}

function readMap(value: unknown, absent: string): Readonly<Record<string, unknown>> {
  if (!isObject(value)) {
    throw cryptoFault(`${absent}, or not in mode 'aead' (CryptoProcessor), which is required here`);
  }
  const map = value as Record<string, unknown>;
  if (map['v'] !== AEAD_VERSION) throw cryptoFault('the other side has another version of encryption');
  return map;
}

/** A name that is not a text counts as no name. */
function readName(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** A text of the other side, for this side's log. */
function shown(text: string | undefined): string {
  return JSON.stringify(text?.slice(0, 128)) ?? 'nothing';
}

function readBytes(value: unknown, bytes: number): Buffer {
  if (!(value instanceof Uint8Array) || value.length !== bytes) {
    throw cryptoFault(`DECLARE or its answer holds a value that is not ${bytes} bytes`);
  }
  return Buffer.from(value);
}
