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
} from '../security.js';
import type { CryptoStats } from './crypto-stats.js';
import type { KeyRing } from './key-ring.js';

export interface AeadOptions {
  readonly side: 'client' | 'server';
  readonly keys: KeyRing<Buffer>;
  /** The suites that are used, the preferred one first. */
  readonly suites: readonly AeadSuite[];
  readonly limits: WearLimits;
  /** Whether a server refuses clients that do not encrypt. */
  readonly required: boolean;
  readonly stats: CryptoStats;
}

/** The authenticated mode: DECLARE and its answer agree on keys, and every frame behind them is sealed. */
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
    const { suites } = this.options;
    return {
      aead: { v: AEAD_VERSION, key_id: this.#keyId, random: this.#random, suites, records: true },
    };
  }

  answered(answer: Readonly<Record<string, unknown>>, sent: Buffer, received: Buffer): FrameSeal {
    const { keys, suites, stats } = this.options;
    try {
      const { suite, random, confirm, records } = readAnswer(answer['aead'], suites);
      const secrets: AeadSecrets = {
        key: keys.get(this.#keyId),
        suite,
        clientRandom: this.#random,
        serverRandom: random,
      };
      if (!timingSafeEqual(confirm, confirmation(secrets, sent))) {
        throw cryptoFault(`the server did not prove that it has the key '${this.#keyId}'`);
      }
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
    const { keys, suites, required, stats } = this.options;
    const offered = declared['aead'];
    if (offered === undefined && !required) return undefined;
    try {
      const { keyId, suite, random, records } = readOffer(offered, suites);
      this.#keyId = keyId;
      // whether there is such a key shows in nothing that is sent, nor in the work for it
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
            ...(records ? { records } : {}),
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
    const id = JSON.stringify(this.#keyId.slice(0, 128));
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

/** `{v: 1, key_id, random: 32 bytes, suites: [...], records?}` */
function readOffer(
  offer: unknown,
  suites: readonly AeadSuite[],
): { keyId: string; random: Buffer; suite: AeadSuite; records: boolean } {
  const { key_id: keyId, random, suites: offered, records } = readMap(offer, 'the client does not encrypt');
  const suite = Array.isArray(offered) ? suites.find((own) => offered.includes(own)) : undefined;
  if (!suite) throw cryptoFault('the client knows no suite that this server allows');
  if (typeof keyId !== 'string') throw cryptoFault('DECLARE names no key');
  return { keyId, random: readBytes(random, RANDOM_BYTES), suite, records: records === true };
}

/** `{v: 1, random: 32 bytes, suite, confirm: 32 bytes, records?}` */
function readAnswer(
  answer: unknown,
  suites: readonly AeadSuite[],
): { random: Buffer; suite: AeadSuite; confirm: Buffer; records: boolean } {
  const { random, suite, confirm, records } = readMap(answer, 'the server does not encrypt');
  if (!isAeadSuite(suite) || !suites.includes(suite)) {
    throw cryptoFault('the server took a suite that was not offered');
  }
  return {
    random: readBytes(random, RANDOM_BYTES),
    suite,
    confirm: readBytes(confirm, CONFIRM_BYTES),
    records: records === true,
  };
}

function readMap(value: unknown, absent: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) {
    throw cryptoFault(`${absent}, or not in mode 'aead' (CryptoProcessor), which is required here`);
  }
  const map = value as Record<string, unknown>;
  if (map['v'] !== AEAD_VERSION) throw cryptoFault('the other side has another version of encryption');
  return map;
}

function readBytes(value: unknown, bytes: number): Buffer {
  if (!(value instanceof Uint8Array) || value.length !== bytes) {
    throw cryptoFault(`DECLARE or its answer holds a value that is not ${bytes} bytes`);
  }
  return Buffer.from(value);
}
