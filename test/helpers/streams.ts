import type { RapContext } from '../../lib/index.js';
import type { TestApp } from './app.js';
import { eventually } from './async.js';

/** All items of a stream. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** The items of a stream that fails, and what it fails with. */
export async function collectFailing<T>(
  items: AsyncIterable<T>,
): Promise<{ items: T[]; error: Error & Record<string, unknown> }> {
  const all: T[] = [];
  try {
    for await (const item of items) all.push(item);
  } catch (error) {
    return { items: all, error: error as Error & Record<string, unknown> };
  }
  throw new Error(`ended after ${all.length} items, an error was expected`);
}

/** Reads this many items and leaves. */
export async function takeItems<T>(items: AsyncIterable<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  for await (const item of items) {
    taken.push(item);
    if (taken.length === count) break;
  }
  return taken;
}

/** What the handlers of a test have gone through. */
export class Probe {
  /** Handlers that began, and that ran to their end, `finally` included. */
  started = 0;
  ended = 0;
  /** Items that were made. */
  produced = 0;
  /** Observables that were subscribed to and left. */
  unsubscribed = 0;
  readonly contexts: RapContext[] = [];
  readonly signals: AbortSignal[] = [];

  begin(context?: RapContext): void {
    this.started += 1;
    if (!context) return;
    this.contexts.push(context);
    this.signals.push(context.signal);
  }

  get aborted(): number {
    return this.signals.filter((signal) => signal.aborted).length;
  }
}

/** Waits until no handler of a server runs any more. */
export function idle(test: Pick<TestApp, 'server'>): Promise<void> {
  return eventually('no handler runs', () => test.server.stats().inFlight === 0);
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
