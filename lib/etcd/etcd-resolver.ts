import type { Resolver } from '../cluster/resolver.js';
import { retryDelayMs } from '../discovery/retry-delay.js';
import { stableSubset } from '../discovery/stable-subset.js';
import { Watchers } from '../discovery/watchers.js';
import { addressText } from '../protocol/server-address.js';
import type { Clock, Timer } from '../protocol/clock.js';
import { assertOptionsOf } from '../protocol/values/option-names.js';
import { isRecord, textOf } from '../protocol/values/unknown.js';
import { withDefaults } from '../rpc/limits.js';
import { systemClock } from '../rpc/time/system-clock.js';
import { EtcdGateway, type Json } from './etcd-gateway.js';
import { ETCD_OPTIONS, type EtcdOptions, etcdSettings, type EtcdSettings } from './etcd-options.js';
import { int64, rangeOf } from './server-record.js';
import { ServiceRecords } from './service-records.js';
import { wait } from './wait.js';

/** Options of `etcdResolver`. */
export interface EtcdResolverOptions extends EtcdOptions {
  /** Most servers of the list. Default 1,000. Of more, each process takes a part of its own, and keeps to it. */
  readonly maxServers?: number | undefined;
  /**
   * How long a server stays that is missing when etcd comes back, as after a loss of its data, in milliseconds. Default 60,000. A
   * server that leaves while etcd is there leaves the list at once.
   */
  readonly keepMs?: number | undefined;
}

const NUMBERS = { maxServers: 1_000, keepMs: 60_000 };

/** Delays while etcd is down. */
const RETRY = { baseMs: 500, maxMs: 10_000 };

/** Times of a watch, in milliseconds. */
export interface WatchTimes {
  /** Between checks that the watch still tells all. */
  readonly checkMs: number;
  /** After it, the watch is opened again: Node's `fetch` ends an answer that is silent for 300 s. */
  readonly renewMs: number;
  /** A watch that lasted this long ends a series of failures. */
  readonly stableMs: number;
}

const TIMES: WatchTimes = { checkMs: 15_000, renewMs: 240_000, stableMs: 10_000 };

/**
 * Finds servers in etcd, where `registerInEtcd` puts them, and follows each change. While etcd is down or frozen, the list stays.
 *
 *     new RapClient({ resolver: etcdResolver({ endpoints: ['http://etcd:2379'], service: 'math' }) })
 *
 * @throws RangeError that names an option which is not valid
 */
export function etcdResolver(options: EtcdResolverOptions): Resolver {
  assertOptionsOf('etcdResolver', options, { ...ETCD_OPTIONS, maxServers: true, keepMs: true });
  const { maxServers, keepMs } = options;
  const numbers = withDefaults('etcdResolver', { maxServers, keepMs }, NUMBERS);
  if (numbers.maxServers < 1)
    throw new RangeError(`etcdResolver.maxServers must be at least 1, got ${maxServers}`);
  const settings = { ...etcdSettings('etcdResolver', options), ...numbers };
  return new EtcdResolver(settings, { clock: systemClock, random: Math.random, times: TIMES });
}

export interface EtcdSeams {
  readonly clock: Clock;
  readonly random: () => number;
  readonly times: WatchTimes;
}

export class EtcdResolver implements Resolver {
  readonly #watchers = new Watchers({ start: () => this.#start(), stop: () => this.#stop() });
  readonly #gateway: EtcdGateway;
  readonly name: string;
  readonly #seed: number;
  #records!: ServiceRecords;
  #running = new AbortController();
  #expiry: Timer | undefined;
  #isCut = false;
  /** Revision at which a check found a difference. */
  #doubtedAt = -1;

  constructor(
    private readonly settings: EtcdSettings & typeof NUMBERS,
    private readonly seams: EtcdSeams,
  ) {
    this.name = `${settings.service} (etcd)`;
    this.#gateway = new EtcdGateway(settings, seams.clock, seams.random);
    this.#seed = Math.floor(seams.random() * 2 ** 32);
  }

  watch(...[listener, onError]: Parameters<Resolver['watch']>): () => void {
    return this.#watchers.watch(listener, onError);
  }

  #start(): void {
    const running = new AbortController();
    this.#running = running;
    this.#records = new ServiceRecords(this.settings.keepMs, (error) => this.#watchers.fail(error));
    this.#isCut = false;
    this.#doubtedAt = -1;
    void this.#run(running.signal);
  }

  #stop(): void {
    this.#running.abort();
    this.#expiry?.cancel();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock, random, times } = this.seams;
    let failures = 0;
    while (!signal.aborted) {
      const since = clock.now();
      try {
        await this.#listAndFollow(signal);
        failures = 0; // it was ended by a check, which has its time
      } catch (error) {
        if (signal.aborted) return;
        if (clock.now() - since >= times.stableMs) failures = 0;
        this.#failed(error);
        const isAwaited = !this.#watchers.isKnown; // somebody waits for the first list
        await wait(clock, retryDelayMs(failures, RETRY, random), signal, isAwaited);
        failures += 1;
      }
    }
  }

  #failed(error: unknown): void {
    const { isKnown, size } = this.#watchers;
    const rest = isKnown ? `; the list of ${size} stays` : '';
    const what = `The servers of ${this.settings.service} cannot be followed: ${textOf(error, 500)}${rest}`;
    this.#watchers.fail(new Error(what, { cause: error }));
  }

  /** Returns when a new list is needed. */
  async #listAndFollow(signal: AbortSignal): Promise<void> {
    const range = rangeOf(this.settings.servicePrefix);
    const { kvs, header } = await this.#gateway.call('/v3/kv/range', range, signal);
    this.#records.replace(kvs, revisionOf(header), this.seams.clock.now());
    this.#publish();
    while (!signal.aborted && (await this.#follow(range, signal)) === 'renew');
  }

  /** Takes changes until a check ends it, or something is wrong. */
  async #follow(range: Json, signal: AbortSignal): Promise<'renew' | 'list'> {
    const ended = new AbortController();
    const stop = (): void => ended.abort(signal.reason);
    signal.addEventListener('abort', stop);
    let outcome: 'renew' | 'list' | undefined;
    const checks = this.#check(range, ended.signal).then(
      (found) => {
        outcome = found;
        ended.abort();
      },
      (error: unknown) => ended.abort(error),
    );
    try {
      await this.#read(range, ended.signal);
      throw new Error(`${this.#gateway.endpoint} ended the watch`);
    } catch (error) {
      if (outcome) return outcome;
      throw error;
    } finally {
      ended.abort();
      signal.removeEventListener('abort', stop);
      await checks;
    }
  }

  async #read(range: Json, signal: AbortSignal): Promise<void> {
    const request = { ...range, start_revision: String(this.#records.revision + 1), progress_notify: true };
    for await (const message of this.#gateway.stream('/v3/watch', { create_request: request }, signal)) {
      const {
        header,
        events,
        created,
        canceled,
        compact_revision: compacted,
        cancel_reason: reason,
      } = message;
      if (int64(compacted) > 0)
        throw new Error(`etcd has compacted its history up to revision ${int64(compacted)}`);
      if (canceled === true) throw new Error(`etcd cancelled the watch: ${textOf(reason, 200)}`);
      // the first message has the revision of now, and the changes until then follow it
      if (created === true) continue;
      this.#records.apply(events, revisionOf(header));
      this.#publish();
    }
  }

  /**
   * A watch that is dead says nothing, as one without changes. So it is asked from time to time whether there are changes that it
   * has not told.
   *
   * @throws Error if etcd does not answer
   */
  async #check(range: Json, signal: AbortSignal): Promise<'renew' | 'list'> {
    const { clock, random, times } = this.seams;
    const renewAt = clock.now() + times.renewMs;
    const { endpoint } = this.#gateway;
    for (;;) {
      await wait(clock, times.checkMs * (0.75 + random() / 2), signal);
      if (signal.aborted) return 'renew';
      const { revision } = this.#records;
      const changes = { ...range, keys_only: true, min_mod_revision: String(revision + 1) };
      const { kvs, count, header } = await this.#gateway.call('/v3/kv/range', changes, signal);
      const isOtherData = revisionOf(header) < revision;
      const differs = (Array.isArray(kvs) && kvs.length > 0) || int64(count) !== this.#records.size;
      if (isOtherData) return 'list';
      // a change that was told meanwhile explains a difference, and one that is on its way comes with a new watch
      if (differs && this.#records.revision === revision) {
        if (this.#doubtedAt === revision) return 'list';
        this.#doubtedAt = revision;
        return 'renew';
      }
      // its member does not answer: another one does
      if (this.#gateway.endpoint !== endpoint || clock.now() >= renewAt) return 'renew';
    }
  }

  #publish(): void {
    const { clock } = this.seams;
    const { maxServers, service } = this.settings;
    this.#expiry?.cancel();
    const ms = this.#records.expire(clock.now());
    if (ms !== undefined && ms !== Infinity) this.#expiry = clock.after(ms, () => this.#publish());
    const all = this.#records.list();
    this.#watchers.publish(stableSubset(all, maxServers, this.#seed, addressText));
    const isCut = all.length > maxServers;
    if (isCut && !this.#isCut)
      this.#watchers.fail(new Error(`${service} has more than ${maxServers} servers (maxServers) in etcd`));
    this.#isCut = isCut;
  }
}

function revisionOf(header: unknown): number {
  return isRecord(header) ? int64(header['revision']) : 0;
}
