import { randomBytes } from 'node:crypto';
import type { ServerAddress } from '../cluster/server-address.js';
import { retryDelayMs } from '../discovery/retry-delay.js';
import type { Clock } from '../protocol/clock.js';
import { type EtcdGateway, EtcdRefusal, NOT_FOUND } from './etcd-gateway.js';
import { base64, encodeServer, int64, newKey } from './server-record.js';
import { wait } from './wait.js';

export interface LeaseOptions {
  readonly gateway: EtcdGateway;
  readonly clock: Clock;
  readonly random: () => number;
  readonly servicePrefix: string;
  readonly address: ServerAddress;
  readonly seconds: number;
  readonly onRegistered: () => void;
  readonly onError: (error: Error) => void;
}

const RETRY = { baseMs: 250, maxMs: 5_000 };

/** Keeps a server in etcd, from its making until `end`. */
export class Lease {
  readonly #stop = new AbortController();
  readonly #key: string;
  readonly #value: string;
  readonly #running: Promise<void>;
  /** Chosen here: a lease of which no answer came can be revoked as well. */
  #id: string | undefined;
  #failures = 0;

  constructor(private readonly options: LeaseOptions) {
    this.#key = base64(newKey(options.servicePrefix, options.address));
    this.#value = base64(encodeServer(options.address));
    this.#running = this.#run();
  }

  /** Takes the server out; never rejects. */
  async end(): Promise<void> {
    this.#stop.abort();
    await this.#running; // nothing is put after the lease is revoked
    if (this.#id === undefined) return;
    try {
      await this.options.gateway.call('/v3/lease/revoke', { ID: this.#id });
    } catch (error) {
      if (isNotFound(error)) return; // it had ended
      const { seconds } = this.options;
      const text = `it could not be taken out, and stays for up to ${seconds} s: ${(error as Error).message}`;
      this.options.onError(new Error(text, { cause: error }));
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#keepAlive(await this.#register(signal), signal);
      } catch (error) {
        if (signal.aborted) return;
        this.options.onError(error as Error);
        await this.#pause(signal);
      }
    }
  }

  /** @returns when the lease is to be kept alive */
  async #register(signal: AbortSignal): Promise<number> {
    const { gateway, seconds, onRegistered } = this.options;
    // the same one after a request without an answer: its put may come late, and must not bring the key to another lease
    this.#id ??= newLeaseId();
    const isNew = await this.#grant(this.#id, signal);
    try {
      await gateway.call('/v3/kv/put', { key: this.#key, value: this.#value, lease: this.#id }, signal);
    } catch (error) {
      if (isNotFound(error)) this.#id = undefined;
      throw error;
    }
    onRegistered();
    return isNew ? (seconds * 1_000) / 3 : 0;
  }

  /** @returns whether the lease is new, with all its time */
  async #grant(ID: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.options.gateway.call('/v3/lease/grant', { ID, TTL: String(this.options.seconds) }, signal);
      return true;
    } catch (error) {
      if (error instanceof EtcdRefusal && error.message.includes('lease already exists')) return false;
      throw error;
    }
  }

  /** @throws Error if the lease is lost */
  async #keepAlive(firstMs: number, signal: AbortSignal): Promise<void> {
    const { gateway, clock, seconds } = this.options;
    for (let ms = firstMs; ; ms = (seconds * 1_000) / 3) {
      await wait(clock, ms, signal);
      if (signal.aborted) return;
      if (!(await this.#isAlive(gateway, signal))) {
        this.#id = undefined;
        throw new Error('the lease is lost; it is registered again');
      }
      this.#failures = 0;
    }
  }

  /** Tries until etcd answers: only its word says that the lease is lost. */
  async #isAlive(gateway: EtcdGateway, signal: AbortSignal): Promise<boolean> {
    for (;;) {
      try {
        const { TTL } = await gateway.call('/v3/lease/keepalive', { ID: this.#id }, signal);
        return int64(TTL) > 0;
      } catch (error) {
        if (signal.aborted) throw error;
        if (isNotFound(error)) return false;
        this.options.onError(error as Error);
        await this.#pause(signal);
      }
    }
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.options;
    await wait(clock, retryDelayMs(this.#failures, RETRY, random), signal);
    this.#failures += 1;
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof EtcdRefusal && error.code === NOT_FOUND;
}

/** A positive int64. */
function newLeaseId(): string {
  return String((randomBytes(8).readBigUInt64BE() >> 1n) | 1n);
}
