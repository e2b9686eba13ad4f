import { promises } from 'node:dns';
import type { Resolver } from '../cluster/resolver.js';
import { staticResolver } from '../cluster/static-resolver.js';
import type { Clock, Timer } from '../protocol/clock.js';
import { systemClock } from '../rpc/time/system-clock.js';
import { type DnsResolverOptions, dnsSettings, type DnsSettings } from './dns-options.js';
import { ask, type DnsAnswer, type NameServers, reasonOf } from './dns-query.js';
import { retryDelayMs } from './retry-delay.js';
import { SeenServers } from './seen-servers.js';
import { Watchers } from './watchers.js';

/** Delays while DNS is down. */
const RETRY = { baseMs: 1_000, maxMs: 30_000 };
/** A query is repeated after a quarter of the time, and then has half of it. */
const TRIES = { part: 4, count: 2 };

/**
 * Finds servers by DNS, and keeps looking: again when the TTL of the answer is over, but after 5 to 30 s in any case. All who
 * watch the resolver share one search. While DNS is down, the last list stays valid; a server that answers lack stays 60 s longer.
 *
 *     new RapClient({ resolver: dnsResolver({ name: 'math.default.svc.cluster.local', port: 9000 }) })
 *
 * @throws RangeError that names an option which is not valid
 */
export function dnsResolver(options: DnsResolverOptions): Resolver {
  const settings = dnsSettings(options);
  const { name, port, isHost } = settings;
  if (isHost) return { ...staticResolver([{ host: name.replace(/\.$/, ''), port }]), name: nameOf(settings) };
  return new DnsResolver(settings, {
    clock: systemClock,
    random: Math.random,
    open: () => openNameServers(settings),
  });
}

function nameOf({ name }: DnsSettings): string {
  return `${name} (DNS)`;
}

/** New for each list: it reads a changed `/etc/resolv.conf`, and `cancel` ends the queries of this list only. */
function openNameServers({ nameServers, timeoutMs }: DnsSettings): NameServers {
  const timeout = Math.ceil(Math.min(timeoutMs, 60_000) / TRIES.part);
  const resolver = new promises.Resolver({ timeout, tries: TRIES.count });
  if (nameServers) resolver.setServers(nameServers);
  return resolver;
}

/** What the search does now. */
type State =
  | { readonly kind: 'idle' }
  | {
      readonly kind: 'asking';
      readonly servers: NameServers;
      readonly stop: AbortController;
      readonly timer: Timer;
    }
  | { readonly kind: 'waiting'; readonly timer: Timer };

export interface DnsSeams {
  readonly clock: Clock;
  readonly random: () => number;
  readonly open: () => NameServers;
}

const IDLE: State = { kind: 'idle' };

export class DnsResolver implements Resolver {
  readonly #watchers = new Watchers({ start: () => this.#ask(), stop: () => this.#stop() });
  readonly name: string;
  readonly #seed: number;
  #state: State = IDLE;
  #seen!: SeenServers;
  #failures = 0;
  /** What was said about an answer that is there, so that it is said once. */
  #warned = '';
  #expiry: Timer | undefined;

  constructor(
    private readonly settings: DnsSettings,
    private readonly seams: DnsSeams,
  ) {
    this.name = nameOf(settings);
    this.#seed = Math.floor(seams.random() * 2 ** 32);
    this.#forget();
  }

  watch(...[listener, onError]: Parameters<Resolver['watch']>): () => void {
    return this.#watchers.watch(listener, onError);
  }

  #ask(): void {
    const { clock } = this.seams;
    const { timeoutMs, name } = this.settings;
    const servers = this.#open();
    if (!servers) return;
    const stop = new AbortController();
    const late = (): void => this.#failed(new Error(`no answer about ${name} within ${timeoutMs} ms`));
    const timer = clock.after(timeoutMs, () => this.#leave(state) && late());
    const state: State = { kind: 'asking', servers, stop, timer };
    this.#state = state;
    ask(servers, { ...this.settings, seed: this.#seed }, stop.signal).then(
      (answer) => this.#leave(state) && this.#answered(answer),
      (error: Error) => this.#leave(state) && this.#failed(error),
    );
  }

  #open(): NameServers | undefined {
    try {
      return this.seams.open();
    } catch (error) {
      this.#failed(error as Error); // no file descriptor is left
      return undefined;
    }
  }

  /** Ends a state, if it is the one of now. */
  #leave(state: State): boolean {
    if (this.#state !== state) return false;
    this.#state = IDLE;
    if (state.kind !== 'idle') state.timer.cancel();
    if (state.kind === 'asking') {
      state.stop.abort();
      state.servers.cancel();
    }
    return true;
  }

  #answered({ found, failed, ttlMs }: DnsAnswer): void {
    this.#failures = 0;
    const { random } = this.seams;
    const { minTtlMs, maxTtlMs } = this.settings;
    this.#seen.take(found, new Set(failed.keys()), this.seams.clock.now());
    // before the list: a listener may stop the search
    const ttl = this.#seen.isPartial || found.length === 0 ? minTtlMs : Math.min(ttlMs ?? minTtlMs, maxTtlMs);
    this.#askIn(Math.max(minTtlMs, ttl * (1 - random() / 10)));
    this.#expireLater();
    const state = this.#state;
    // before the list, which it explains
    if (found.length === 0) this.#watchers.fail(this.#noServers());
    if (this.#state === state) this.#watchers.publish(this.#seen.list());
    if (this.#state === state) this.#warn(failed);
  }

  #failed(error: Error): void {
    const delayMs = retryDelayMs(this.#failures, RETRY, this.seams.random);
    this.#failures += 1;
    this.#askIn(delayMs);
    const { isKnown, size } = this.#watchers;
    const rest = isKnown ? `; the list of ${size} stays` : '';
    this.#watchers.fail(this.#error(`could not be looked up: ${reasonOf(error)}${rest}`, error));
  }

  #askIn(ms: number): void {
    const timer = this.seams.clock.after(ms, () => this.#leave(state) && this.#ask());
    timer.hold(!this.#watchers.isKnown && this.#failures > 0); // somebody waits for the first list
    const state: State = { kind: 'waiting', timer };
    this.#state = state;
  }

  #expireLater(): void {
    this.#expiry?.cancel();
    const { clock } = this.seams;
    const ms = this.#seen.expiresInMs(clock.now());
    if (ms === undefined || ms === Infinity) return;
    this.#expiry = clock.after(ms, () => {
      this.#seen.expire(clock.now());
      this.#expireLater();
      this.#watchers.publish(this.#seen.list());
    });
  }

  #noServers(): Error {
    const { isSrv, types } = this.settings;
    const records = isSrv ? 'SRV' : types.join(' or ');
    const kept = this.#watchers.size;
    const rest = kept > 0 ? `; the list of ${kept} stays for a while` : '';
    return this.#error(`does not exist, or has no ${records} records that lead to an address${rest}`);
  }

  /** Says what is wrong with an answer, once. */
  #warn(failed: ReadonlyMap<string, Error>): void {
    const { leftOut } = this.#seen;
    const [first] = failed;
    const warnings = [
      first && `has only a part of its answer: ${first[0]} failed with ${reasonOf(first[1])}`,
      leftOut > 0 &&
        `has more than ${this.settings.maxServers} servers (maxServers); the others are left out`,
    ].filter((warning) => typeof warning === 'string');
    const warned = warnings.join('\n');
    if (warned === this.#warned) return;
    this.#warned = warned;
    for (const warning of warnings) this.#watchers.fail(this.#error(warning));
  }

  #error(what: string, cause?: Error): Error {
    return new Error(`The name ${this.settings.name} ${what}`, { cause });
  }

  #stop(): void {
    this.#leave(this.#state);
    this.#expiry?.cancel();
    this.#forget();
  }

  #forget(): void {
    this.#seen = new SeenServers({ ...this.settings, seed: this.#seed });
    this.#failures = 0;
    this.#warned = '';
  }
}
