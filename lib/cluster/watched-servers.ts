import { inspect } from 'node:util';
import { isRecord } from '../protocol/values/unknown.js';
import type { Resolver } from './resolver.js';
import type { ServerAddress } from './server-address.js';
import { toServerAddress } from './static-resolver.js';

/** Gets what a resolver says, once it is checked. */
export interface ServersListener {
  listed(servers: readonly ServerAddress[]): void;
  /** The servers cannot be had; the last list stays valid. */
  failed(error: Error): void;
  /** Some of what the resolver lists is no server; the rest is used. */
  mistaken(error: Error): void;
}

/**
 * Watches the servers of a resolver, which may be one of the application: it may throw, list anything, and go on after its end.
 *
 * @returns what stops it; `undefined` if it could not be started
 */
export function watchServers(resolver: Resolver, listener: ServersListener): (() => void) | undefined {
  let isOver = false;
  let unwatch: unknown;
  try {
    unwatch = resolver.watch(
      (servers) => {
        if (!isOver) check(servers, listener);
      },
      (error) => {
        if (!isOver) listener.failed(toError(error));
      },
    );
  } catch (error) {
    isOver = true;
    listener.failed(toError(error));
    return undefined;
  }
  return () => {
    if (isOver) return;
    isOver = true;
    try {
      if (typeof unwatch === 'function') unwatch();
    } catch (error) {
      listener.mistaken(toError(error));
    }
  };
}

function check(given: unknown, listener: ServersListener): void {
  if (!Array.isArray(given))
    return listener.failed(new TypeError(`the resolver gave ${shown(given)}, not a list of servers`));
  let mistake: Error | undefined;
  const servers = given.filter((server: unknown, index): server is ServerAddress => {
    try {
      // its weight is checked by those who use it
      toServerAddress(`servers[${index}]`, isRecord(server) ? { ...server, weight: undefined } : server);
      return true;
    } catch (error) {
      mistake ??= error as Error;
      return false;
    }
  });
  if (mistake && servers.length === 0) return listener.failed(mistake);
  if (mistake) listener.mistaken(mistake);
  listener.listed(servers);
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(shown(error));
}

function shown(value: unknown): string {
  return inspect(value, { depth: 1, maxArrayLength: 3, maxStringLength: 80 });
}
