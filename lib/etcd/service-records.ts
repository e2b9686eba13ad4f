import { addressText } from '../protocol/server-address.js';
import type { ServerAddress } from '../cluster/server-address.js';
import { isRecord, textOf } from '../protocol/values/unknown.js';
import { decodeServer, fromBase64, int64 } from './server-record.js';

interface ServiceRecord {
  /** `undefined`: its value cannot be read. */
  readonly address: ServerAddress | undefined;
  readonly revision: number;
}

/** A server that a new list lacks, and until when it stays. */
interface Kept {
  readonly address: ServerAddress;
  readonly until: number;
}

/** What etcd holds about a service, as far as this client knows. */
export class ServiceRecords {
  #records = new Map<string, ServiceRecord>();
  #kept = new Map<string, Kept>();
  #revision = 0;

  /** @param onBad told of a value that cannot be read, once */
  constructor(
    private readonly keepMs: number,
    private readonly onBad: (error: Error) => void,
  ) {}

  /** Up to where the changes are known. */
  get revision(): number {
    return this.#revision;
  }

  get size(): number {
    return this.#records.size;
  }

  /**
   * Takes a whole list. Nobody said that a server which it lacks has left (etcd may have lost its data), so that it stays for a
   * while.
   */
  replace(kvs: unknown, revision: number, now: number): void {
    const before = this.#records;
    this.#records = new Map();
    for (const kv of Array.isArray(kvs) ? kvs : []) this.#put(kv, before);
    this.#revision = revision;
    for (const [key, { address }] of before) {
      if (address && !this.#records.has(key))
        this.#kept.set(addressText(address), { address, until: now + this.keepMs });
    }
  }

  /** Takes changes that the watch tells. */
  apply(events: unknown, revision: number): void {
    for (const event of Array.isArray(events) ? events : []) {
      if (!isRecord(event)) continue;
      const { type, kv } = event;
      if (type === 'DELETE') this.#delete(isRecord(kv) ? fromBase64(kv['key']) : '');
      else this.#put(kv, this.#records);
    }
    this.#revision = Math.max(this.#revision, revision);
  }

  /** Removes what has stayed long enough. @returns the time until the next, if there is one */
  expire(now: number): number | undefined {
    let next: number | undefined;
    for (const [key, { until }] of this.#kept) {
      if (now >= until) this.#kept.delete(key);
      else next = Math.min(next ?? Infinity, until - now);
    }
    return next;
  }

  /** One for each address: the newest, if several registered it. */
  list(): ServerAddress[] {
    const newest = new Map<string, ServiceRecord & { address: ServerAddress }>();
    for (const { address, revision } of this.#records.values()) {
      if (!address) continue;
      const key = addressText(address);
      const other = newest.get(key);
      if (!other || other.revision < revision) newest.set(key, { address, revision });
    }
    for (const [key, { address }] of this.#kept)
      if (!newest.has(key)) newest.set(key, { address, revision: 0 });
    return Array.from(newest.values(), ({ address }) => address);
  }

  #put(kv: unknown, before: ReadonlyMap<string, ServiceRecord>): void {
    if (!isRecord(kv)) return;
    const key = fromBase64(kv['key']);
    const revision = int64(kv['mod_revision']);
    const known = before.get(key);
    if (known?.revision === revision) {
      this.#records.set(key, known);
      return;
    }
    try {
      this.#records.set(key, { address: decodeServer(fromBase64(kv['value'])), revision });
    } catch (error) {
      this.#records.set(key, { address: undefined, revision });
      this.onBad(new Error(`etcd: ${key} is left out: ${textOf(error, 200)}`, { cause: error }));
    }
  }

  /** It left: nothing keeps it. */
  #delete(key: string): void {
    const address = this.#records.get(key)?.address;
    this.#records.delete(key);
    if (address) this.#kept.delete(addressText(address));
  }
}
