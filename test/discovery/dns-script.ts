import type { RecordWithTtl, SrvRecord } from 'node:dns';
import { DnsResolver } from '../../lib/discovery/dns-resolver.js';
import { type DnsResolverOptions, dnsSettings } from '../../lib/discovery/dns-options.js';
import type { NameServers } from '../../lib/discovery/dns-query.js';
import { addressText } from '../../lib/protocol/server-address.js';
import type { ServerAddress } from '../../lib/cluster/server-address.js';
import { turn } from '../helpers/async.js';
import { FakeClock } from '../helpers/fake-clock.js';

/** Records, the code of an error, or `hangs`. */
export type Answer<T> = readonly T[] | string;

/** Name servers that answer what a test says: records, or the code of an error. */
export class DnsScript {
  a: Answer<string | RecordWithTtl> = [];
  aaaa: Answer<string> = 'ENODATA';
  srv: Answer<SrvRecord> = [];
  targets: Record<string, Answer<string>> = {};
  ttl = 10;
  asked: string[] = [];
  cancelled = 0;
  running = 0;
  mostRunning = 0;
  openError: Error | undefined;

  open(): NameServers {
    if (this.openError) throw this.openError;
    let cancel!: (error: Error) => void;
    const cancelled = new Promise<never>((_, reject) => (cancel = reject));
    cancelled.catch(() => {});
    const answer = async <T>(what: string, given: Answer<T>): Promise<readonly T[]> => {
      this.asked.push(what);
      this.running += 1;
      this.mostRunning = Math.max(this.mostRunning, this.running);
      try {
        if (given === 'hangs') return await cancelled;
        await Promise.resolve();
        if (typeof given === 'string') throw failure(given);
        return given;
      } finally {
        this.running -= 1;
      }
    };
    const records = async (what: string, given: Answer<string | RecordWithTtl>): Promise<RecordWithTtl[]> => {
      const found = await answer(what, given);
      return found.map((each) => (typeof each === 'string' ? { address: each, ttl: this.ttl } : each));
    };
    return {
      resolve4: (name) => records(`A ${name}`, this.targets[name] ?? this.a),
      resolve6: (name) => records(`AAAA ${name}`, this.aaaa),
      resolveSrv: async (name) => [...(await answer(`SRV ${name}`, this.srv))],
      cancel: () => {
        this.cancelled += 1;
        cancel(failure('ECANCELLED'));
      },
    };
  }
}

function failure(code: string): Error {
  return Object.assign(new Error(`query ${code}`), { code });
}

/** A resolver on a script or on real name servers, with the time of the test. */
export class ResolverTest {
  readonly clock = new FakeClock();
  readonly lists: (readonly ServerAddress[])[] = [];
  readonly errors: string[] = [];
  readonly resolver: DnsResolver;
  readonly stop: () => void;

  constructor(options: DnsResolverOptions, open: () => NameServers, random = () => 0) {
    this.resolver = new DnsResolver(dnsSettings(options), { clock: this.clock, random, open });
    this.stop = this.resolver.watch(
      (list) => this.lists.push(list),
      (error) => this.errors.push(error.message),
    );
  }

  /** The last list, as `host:port`. */
  get list(): string[] | undefined {
    return this.lists.at(-1)?.map((server) => addressText(server));
  }

  /** Moves the clock in steps, so that answers arrive between them. */
  async pass(ms: number, step = 1_000): Promise<void> {
    await turn();
    for (let done = 0; done < ms; done += step) {
      this.clock.advance(Math.min(step, ms - done));
      await turn();
    }
  }
}
