import { inspect } from 'node:util';
import { addressText } from '../protocol/server-address.js';
import { isRecord, isThenable } from '../protocol/values/unknown.js';
import { PROCESS_CONTEXT } from '../rpc/context/async-context.js';
import type { Resolver } from './resolver.js';
import { type ServerAddress, weightOf } from './server-address.js';
import { toServerAddress } from './static-resolver.js';

/** Who is told what a resolver says, once it is checked. */
export interface ListOwner {
  listed(servers: readonly ServerAddress[]): void;
  /** The servers cannot be had; the last list stays valid. */
  unresolved(error: Error): void;
  /** Some of what the resolver lists is not a server; the rest is used. */
  mistaken(error: Error): void;
}

/**
 * One watch of a resolver, from its start to its end; either may come from inside of the other. The resolver may be one of the
 * application: it may throw, be async, list anything, and go on after its end.
 */
export class ListWatch {
  /** It is async, and has failed before it listed a server: the next call asks again, as if it had not started. */
  hasFailed = false;
  #isOver = false;
  #unwatch: unknown;
  /** What its owner knows: that there are servers, or why there are none. */
  #known: 'servers' | 'error' | 'nothing' = 'nothing';
  /** Servers of the last list whose weights are none. */
  #misweighted: ReadonlySet<string> = new Set();

  constructor(
    private readonly resolver: Resolver,
    private readonly owner: ListOwner,
  ) {}

  /** @returns false if the resolver could not be started, which its owner was told */
  start(): boolean {
    if (this.#isOver) return true;
    try {
      // it outlives the call that needs it first
      PROCESS_CONTEXT.run(() => this.#watch(), undefined, undefined);
    } catch (error) {
      const wasOver = this.#isOver;
      this.#isOver = true;
      if (!wasOver) this.owner.unresolved(toError(error));
      return false;
    }
    if (this.#isOver) this.#end();
    return true;
  }

  #watch(): void {
    const begun: unknown = this.resolver.watch(
      (servers) => {
        if (!this.#isOver) this.#check(servers);
      },
      (error) => {
        if (!this.#isOver) this.#failed(toError(error));
      },
    );
    if (isThenable(begun)) void this.#begins(begun);
    else this.#unwatch = begun;
  }

  async #begins(begun: PromiseLike<unknown>): Promise<void> {
    try {
      this.#unwatch = await begun;
      if (this.#isOver) this.#end();
    } catch (error) {
      if (this.#isOver) return;
      this.#isOver = this.hasFailed = this.#known !== 'servers';
      this.#failed(toError(error));
    }
  }

  stop(): void {
    this.#isOver = true;
    this.#end();
  }

  #end(): void {
    const unwatch = this.#unwatch;
    this.#unwatch = undefined;
    const failed = (error: unknown): void => this.owner.mistaken(toError(error));
    try {
      const ended: unknown = typeof unwatch === 'function' ? unwatch() : undefined;
      if (isThenable(ended)) ended.then(undefined, failed);
    } catch (error) {
      failed(error);
    }
  }

  #check(given: unknown): void {
    const { owner } = this;
    if (!Array.isArray(given))
      return this.#failed(new TypeError(`the resolver gave ${shown(given)}, not a list of servers`));
    let mistake: Error | undefined;
    const servers = given.filter((server: unknown, index): server is ServerAddress => {
      try {
        // one with a wrong weight is used
        toServerAddress(`servers[${index}]`, isRecord(server) ? { ...server, weight: undefined } : server);
        return true;
      } catch (error) {
        mistake ??= error as Error;
        return false;
      }
    });
    if (mistake && servers.length === 0) return this.#failed(mistake);
    if (mistake) owner.mistaken(mistake);
    if (servers.length === 0 && this.#known === 'error') return; // that says more
    this.#known = servers.length > 0 ? 'servers' : 'nothing';
    this.#checkWeights(servers);
    owner.listed(servers);
  }

  #failed(error: Error): void {
    if (this.#known !== 'servers') this.#known = 'error';
    this.owner.unresolved(error);
  }

  /** Tells of each server with a wrong weight, once as long as it stays so. */
  #checkWeights(servers: readonly ServerAddress[]): void {
    const told = this.#misweighted;
    const misweighted = new Set<string>();
    for (const server of servers) {
      const { weight } = server;
      const used = weightOf(server);
      if (weight === undefined || weight === used) continue;
      const address = addressText(server);
      misweighted.add(address);
      if (told.has(address)) continue;
      const message = `the weight of ${address} must be a finite number of at least 0, got ${shown(weight)}: it counts as ${used}`;
      this.owner.mistaken(new RangeError(message));
    }
    this.#misweighted = misweighted;
  }
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(shown(error));
}

function shown(value: unknown): string {
  return inspect(value, { depth: 1, maxArrayLength: 3, maxStringLength: 80 });
}
