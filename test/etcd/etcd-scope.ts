import { addressText } from '../../lib/protocol/server-address.js';
import type { ServerAddress } from '../../lib/cluster/server-address.js';
import { EtcdResolver, type EtcdResolverOptions, type WatchTimes } from '../../lib/etcd/etcd-resolver.js';
import { etcdSettings } from '../../lib/etcd/etcd-options.js';
import type { RegistrableServer } from '../../lib/etcd.js';
import { systemClock } from '../../lib/rpc/time/system-clock.js';
import { eventually } from '../helpers/async.js';

/** Short, so that a test need not wait. */
export const SHORT: WatchTimes = { checkMs: 100, renewMs: 60_000, stableMs: 10_000 };

/** What a resolver told. */
export class Watched {
  readonly lists: (readonly ServerAddress[])[] = [];
  readonly errors: string[] = [];
  readonly stop: () => void;

  constructor(options: EtcdResolverOptions, times: Partial<WatchTimes> = {}) {
    const settings = {
      maxServers: 1_000,
      keepMs: 60_000,
      ...options,
      ...etcdSettings('etcdResolver', options),
    };
    const seams = { clock: systemClock, random: () => 0, times: { ...SHORT, ...times } };
    this.stop = new EtcdResolver(settings, seams).watch(
      (list) => this.lists.push(list),
      (error) => this.errors.push(error.message),
    );
  }

  get list(): string[] | undefined {
    return this.lists.at(-1)?.map((server) => addressText(server));
  }

  async becomes(...expected: string[]): Promise<void> {
    const text = JSON.stringify(expected);
    try {
      await eventually('', () => JSON.stringify(this.list) === text);
    } catch {
      throw new Error(
        `not in time: ${text}; it is ${JSON.stringify(this.list)}, with ${this.errors.join('\n')}`,
      );
    }
  }

  fails(text: string): Promise<void> {
    return eventually(`an error with ${text}`, () => this.errors.some((error) => error.includes(text))).catch(
      () => {
        throw new Error(`no error with ${text} in time: ${this.errors.join('\n')}`);
      },
    );
  }
}

/** A server whose events a test makes. */
export class ScriptedServer implements RegistrableServer {
  readonly #listeners: [string, () => void][] = [];

  constructor(public own: ReturnType<RegistrableServer['address']>) {}

  address(): ReturnType<RegistrableServer['address']> {
    return this.own;
  }

  on(event: string, callback: () => void): void {
    this.#listeners.push([event, callback]);
  }

  emit(event: 'listening' | 'draining' | 'close'): void {
    for (const [name, callback] of this.#listeners) if (name === event) callback();
  }
}
