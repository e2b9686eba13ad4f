import type { ServerAddress } from '../cluster/server-address.js';
import { PROCESS_CONTEXT } from '../rpc/context/async-context.js';

/** What a resolver does while somebody watches it. */
export interface Source {
  /** Somebody watches from now on. */
  start(): void;
  /** Nobody watches any more. */
  stop(): void;
}

class Watcher {
  constructor(
    private readonly listener: (servers: readonly ServerAddress[]) => void,
    private readonly onError: ((error: Error) => void) | undefined,
  ) {}

  list(servers: readonly ServerAddress[]): void {
    try {
      this.listener(servers);
    } catch (error) {
      this.fail(error as Error);
    }
  }

  fail(error: Error): void {
    try {
      this.onError?.(error);
    } catch {
      // a watcher that fails must not stop the search of the others
    }
  }
}

/** All who watch a resolver: they share one search and its list. */
export class Watchers {
  readonly #watchers = new Set<Watcher>();
  #list: readonly ServerAddress[] | undefined;
  #signature = '';

  constructor(private readonly source: Source) {}

  /** Whether the list is known. */
  get isKnown(): boolean {
    return this.#list !== undefined;
  }

  get size(): number {
    return this.#list?.length ?? 0;
  }

  watch(listener: (servers: readonly ServerAddress[]) => void, onError?: (error: Error) => void): () => void {
    const watcher = new Watcher(listener, onError);
    const isFirst = this.#watchers.size === 0;
    this.#watchers.add(watcher);
    if (this.#list) watcher.list(this.#list);
    // the search outlives the call that happens to start it
    if (isFirst) PROCESS_CONTEXT.run(() => this.source.start(), undefined, undefined);
    return () => this.#leave(watcher);
  }

  /** Tells a list that differs from the last one, whatever its order. */
  publish(servers: readonly ServerAddress[]): void {
    const lines = servers.map((server) => [signatureOf(server), server] as const);
    lines.sort(([a], [b]) => (a < b ? -1 : 1));
    const signature = lines.map(([line]) => line).join('\n');
    if (this.#list && signature === this.#signature) return;
    const list = Object.freeze(lines.map(([, server]) => server));
    this.#list = list;
    this.#signature = signature;
    for (const watcher of this.#watchers) watcher.list(list);
  }

  fail(error: Error): void {
    for (const watcher of this.#watchers) watcher.fail(error);
  }

  #leave(watcher: Watcher): void {
    if (!this.#watchers.delete(watcher) || this.#watchers.size > 0) return;
    this.#list = undefined; // it would be old when somebody watches again
    this.source.stop();
  }
}

function signatureOf({ host, port, path, serverName, weight, metadata }: ServerAddress): string {
  return JSON.stringify([host, port, path, serverName, weight, metadata]);
}
