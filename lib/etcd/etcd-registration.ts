import { inspect } from 'node:util';
import { portOf, toServerAddress } from '../cluster/static-resolver.js';
import type { ServerAddress } from '../cluster/server-address.js';
import type { Clock } from '../protocol/clock.js';
import { assertNames, assertOptionsOf } from '../protocol/values/option-names.js';
import { isRecord, textOf } from '../protocol/values/unknown.js';
import { systemClock } from '../rpc/time/system-clock.js';
import { EtcdGateway } from './etcd-gateway.js';
import { ETCD_OPTIONS, type EtcdOptions, etcdSettings } from './etcd-options.js';
import { Lease } from './lease.js';
import { encodeServer, MAX_VALUE_BYTES } from './server-record.js';

/** What `registerInEtcd` needs of a `RapServer`. */
export interface RegistrableServer {
  address(): { readonly address: string; readonly port: number } | string | null;
  on(event: 'listening' | 'draining' | 'close', callback: () => void): void;
  /** Its `close()` waits for this work: the process may end after it. */
  closesAfter?(work: Promise<unknown>): void;
}

/** Options of `registerInEtcd`. */
export interface RegisterInEtcdOptions extends EtcdOptions {
  /** Its share of the calls, relative to the others. Default 1. */
  readonly weight?: number | undefined;
  /** What clients shall know about the server, such as its zone; plain JSON. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  /**
   * How long the server stays listed after it has died without a word, in seconds. Default 10. etcd has a lower bound of its own,
   * 2 with its defaults.
   */
  readonly leaseSeconds?: number | undefined;
  /**
   * Where clients reach the server; what is not given is taken from `server.address()`. The host is required if the server listens
   * on all addresses (`0.0.0.0`, `::`); `serverName` is what TLS verifies. In Kubernetes: the IP of the pod. A server that listens
   * on loopback, as by default, is reached from its own machine only: without a host, that is a warning of the process.
   */
  readonly address?:
    | {
        readonly host?: string | undefined;
        readonly port?: number | undefined;
        readonly serverName?: string | undefined;
      }
    | undefined;
  /** Told of each failure; the registration goes on. Default: a warning of the process, once until it is registered again. */
  readonly onError?: ((error: Error) => void) | undefined;
}

/** A server in etcd. */
export interface EtcdRegistration extends AsyncDisposable {
  /** Resolves when the server is in etcd for the first time. Rejects if it is unregistered before, or has no address. */
  registered(): Promise<void>;
  /**
   * Takes the server out for good. Resolves when etcd has confirmed it, or does not answer: then the lease ends by itself. May be
   * called twice. `drain()` and `close()` of the server do the same until it listens again.
   */
  unregister(): Promise<void>;
}

const DEFAULT_LEASE_S = 10;
const MAX_LEASE_S = 86_400;
const EVERYWHERE = new Set(['0.0.0.0', '::', '']);
const LOOPBACK = /^(localhost\.?|(::ffff:)?127\.[\d.]+|::1)$/i;

/**
 * Puts a server in etcd, where `etcdResolver` finds it: as soon as it listens, until the first moment of `drain()` or `close()`.
 * It is put there again if its lease is lost, or etcd comes back, even without data.
 *
 *     registerInEtcd(server, { endpoints: ['http://etcd:2379'], service: 'math', address: { host: process.env.POD_IP } });
 *
 * @throws RangeError that names an option which is not valid
 */
export function registerInEtcd(server: RegistrableServer, options: RegisterInEtcdOptions): EtcdRegistration {
  return new Registration(server, options, { clock: systemClock, random: Math.random });
}

export interface RegistrationSeams {
  readonly clock: Clock;
  readonly random: () => number;
}

export class Registration implements EtcdRegistration {
  readonly #gateway: EtcdGateway;
  readonly #servicePrefix: string;
  readonly #service: string;
  readonly #leaseSeconds: number;
  readonly #first = deferred();
  #lease: Lease | undefined;
  /** Ends of leases, one after the other. */
  #ending: Promise<void> = Promise.resolve();
  #isOver = false;
  #hasWarned = false;
  #hasWarnedOfLoopback = false;

  constructor(
    private readonly server: RegistrableServer,
    private readonly options: RegisterInEtcdOptions,
    private readonly seams: RegistrationSeams,
  ) {
    assertServer(server);
    assertOptions(options);
    const settings = etcdSettings('registerInEtcd', options);
    this.#gateway = new EtcdGateway(settings, seams.clock, seams.random);
    this.#servicePrefix = settings.servicePrefix;
    this.#service = settings.service;
    this.#leaseSeconds = options.leaseSeconds ?? DEFAULT_LEASE_S;
    this.#first.promise.catch(() => {}); // nobody has to ask
    if (server.address() !== null) this.#enter(true);
    server.on('listening', () => this.#enter(false));
    server.on('draining', () => this.#leaves());
    server.on('close', () => this.#leaves());
  }

  registered(): Promise<void> {
    return this.#first.promise;
  }

  async unregister(): Promise<void> {
    this.#isOver = true;
    this.#first.reject(new Error(`${this.#service} was unregistered before it was in etcd`));
    await this.#leave();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unregister();
  }

  /** @param isCalled a caller hears of an address that cannot be used */
  #enter(isCalled: boolean): void {
    if (this.#isOver || this.#lease) return;
    let address: ServerAddress;
    try {
      address = advertised(this.server.address(), this.options);
    } catch (error) {
      if (isCalled) throw error;
      this.#first.reject(error as Error);
      this.#failed(error as Error);
      return;
    }
    this.#warnOfLoopback(address);
    this.#lease = new Lease({
      ...this.seams,
      gateway: this.#gateway,
      servicePrefix: this.#servicePrefix,
      address,
      seconds: this.#leaseSeconds,
      onRegistered: () => {
        this.#hasWarned = false;
        this.#first.resolve();
      },
      onError: (error) => this.#failed(error),
    });
  }

  /** It may be meant so, in development. */
  #warnOfLoopback({ host = '' }: ServerAddress): void {
    const isMeant = this.options.address?.host !== undefined;
    if (isMeant || this.#hasWarnedOfLoopback || !LOOPBACK.test(host)) return;
    this.#hasWarnedOfLoopback = true;
    process.emitWarning(
      `${this.#service} in etcd: the server listens on ${host}, which only this machine can reach; set host of the server, or registerInEtcd.address.host`,
      'RapEtcdWarning',
    );
  }

  #leaves(): void {
    const left = this.#leave();
    this.server.closesAfter?.(left);
  }

  #leave(): Promise<void> {
    const lease = this.#lease;
    this.#lease = undefined;
    if (lease) this.#ending = Promise.all([this.#ending, lease.end()]).then(() => {});
    return this.#ending;
  }

  #failed(cause: Error): void {
    const error = new Error(`${this.#service} in etcd: ${cause.message}`, { cause });
    const { onError } = this.options;
    try {
      if (onError) onError(error);
      else if (!this.#hasWarned) process.emitWarning(error.message, 'RapEtcdWarning');
      this.#hasWarned = true;
    } catch {
      // a listener that throws does not end the registration
    }
  }
}

/** Where clients reach the server. @throws RangeError if there is no such address */
function advertised(
  own: ReturnType<RegistrableServer['address']>,
  { address = {}, weight, metadata }: RegisterInEtcdOptions,
): ServerAddress {
  if (typeof own === 'string' && (address.host === undefined || address.port === undefined))
    throw new RangeError(
      `registerInEtcd.address: the server listens on the Unix socket ${own}; host and port are needed`,
    );
  const found = typeof own === 'string' ? undefined : (own ?? undefined);
  const host = address.host ?? found?.address ?? '';
  if (EVERYWHERE.has(host))
    throw new RangeError(
      `registerInEtcd.address.host is needed: the server listens on all addresses (${inspect(host)}), which is none that a client can connect to`,
    );
  const { serverName } = address;
  return toServerAddress('registerInEtcd.address', {
    host,
    port: portOf('registerInEtcd.address.port', address.port ?? found?.port),
    serverName,
    weight,
    metadata,
  });
}

const OPTIONS = {
  ...ETCD_OPTIONS,
  weight: true,
  metadata: true,
  leaseSeconds: true,
  address: true,
  onError: true,
} as const;

const ADDRESS = { host: true, port: true, serverName: true } as const;

function assertServer(server: unknown): void {
  const { address, on } = isRecord(server) ? server : {};
  if (typeof address !== 'function' || typeof on !== 'function')
    throw new RangeError(`registerInEtcd() needs a RapServer, got ${inspect(server, { depth: 0 })}`);
}

function assertOptions(options: RegisterInEtcdOptions): void {
  assertOptionsOf('registerInEtcd', options, OPTIONS);
  const { address, leaseSeconds, weight, metadata, onError } = options;
  if (address !== undefined && !isRecord(address))
    throw new RangeError(`registerInEtcd.address must be { host, port }, got ${inspect(address)}`);
  assertNames('registerInEtcd.address', address ?? {}, ADDRESS);
  const { host = 'a', port = 1, serverName } = address ?? {};
  const checked = toServerAddress('registerInEtcd', { weight, metadata });
  toServerAddress('registerInEtcd.address', { host, port, serverName });
  if (EVERYWHERE.has(host))
    throw new RangeError(
      `registerInEtcd.address.host must be one that clients can connect to, got ${inspect(host)}`,
    );
  if (onError !== undefined && typeof onError !== 'function')
    throw new RangeError(`registerInEtcd.onError must be a function, got ${inspect(onError)}`);
  if (lengthOf(checked) > MAX_VALUE_BYTES / 2)
    throw new RangeError(`registerInEtcd.metadata must take at most ${MAX_VALUE_BYTES / 2} bytes`);
  if (leaseSeconds === undefined) return;
  if (!Number.isInteger(leaseSeconds) || leaseSeconds < 1 || leaseSeconds > MAX_LEASE_S)
    throw new RangeError(
      `registerInEtcd.leaseSeconds must be a whole number from 1 to ${MAX_LEASE_S}, got ${inspect(leaseSeconds)}`,
    );
}

function lengthOf(server: ServerAddress): number {
  try {
    return encodeServer(server).length;
  } catch (error) {
    const [reason] = textOf(error).split('\n');
    throw new RangeError(`registerInEtcd.metadata must be plain JSON: ${reason}`, { cause: error });
  }
}

interface Deferred {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: Error): void;
}

function deferred(): Deferred {
  let resolve!: () => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<void>((...functions) => ([resolve, reject] = functions));
  return { promise, resolve, reject };
}
