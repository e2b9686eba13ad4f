import type { ServerAddress } from './server-address.js';

/** Finds the servers of a service, and keeps looking. */
export interface Resolver {
  /** What it finds, in messages, such as `math.svc (DNS)`. Default: the name of its class. */
  readonly name?: string | undefined;
  /**
   * Calls `listener` with the whole list as soon as it is known, and again after each change; an empty list says that the
   * service has no servers now. If the list is known, the first call comes before `watch` returns. A list names no address twice.
   *
   * @param onError told each time the list cannot be had; the last one stays valid
   * @returns what stops it; may be called twice
   */
  watch(listener: (servers: readonly ServerAddress[]) => void, onError?: (error: Error) => void): () => void;
}
