import { PROCESS_CONTEXT } from '../rpc/context/async-context.js';
import type { Resolver } from './resolver.js';
import type { ServerAddress } from './server-address.js';

/** Who is told what a resolver says. */
export interface ListOwner {
  listed(servers: readonly ServerAddress[]): void;
  unresolved(error: Error): void;
}

/** One watch of a resolver, from its start to its end; either may come from inside of the other. */
export class ListWatch {
  #isOver = false;
  #unwatch: (() => void) | undefined;

  constructor(
    private readonly resolver: Resolver,
    private readonly owner: ListOwner,
  ) {}

  /** @throws what `watch` throws */
  start(): void {
    if (this.#isOver) return;
    // it outlives the call that needs it first
    const unwatch = PROCESS_CONTEXT.run(() => this.#watch(), undefined, undefined);
    if (this.#isOver) unwatch();
    else this.#unwatch = unwatch;
  }

  #watch(): () => void {
    return this.resolver.watch(
      (servers) => {
        if (!this.#isOver) this.owner.listed(servers);
      },
      (error) => {
        if (!this.#isOver) this.owner.unresolved(error);
      },
    );
  }

  stop(): void {
    this.#isOver = true;
    this.#unwatch?.();
    this.#unwatch = undefined;
  }
}
