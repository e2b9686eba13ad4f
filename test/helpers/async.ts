import { getEventListeners, getMaxListeners } from 'node:events';
import type { RapClient, RapClientOptions } from '../../lib/index.js';
import { serve, type TestApp } from './app.js';
import { WAIT_TIMEOUT_MS } from './timeouts.js';
import { StoppedTime } from './stopped-time.js';

/** A door that a test opens: those who wait go on then. */
export class Gate<T = void> {
  readonly opened: Promise<T>;
  open!: (value: T) => void;

  constructor() {
    this.opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }
}

/** Waits until `check` holds; fails with what it is about when it does not in time. */
export async function eventually(
  what: string,
  check: () => unknown,
  timeoutMs = WAIT_TIMEOUT_MS,
): Promise<void> {
  const until = performance.now() + timeoutMs;
  while (!(await check())) {
    if (performance.now() > until) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** What a promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<Error & Record<string, unknown>> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error as Error & Record<string, unknown>;
  }
  throw new Error(`resolved with ${JSON.stringify(value)}, a rejection was expected`);
}

/** Waits for a promise, and fails with what it is about when that takes too long. */
export function within<T>(what: string, promise: Promise<T>, timeoutMs = WAIT_TIMEOUT_MS): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not in time: ${what}`)), timeoutMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Lets this much time pass. Only for "nothing happens": to await something, `eventually` is right. */
export function pass(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Lets everything that is due happen first. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Whether Node warns of a leak for the listeners that are on this signal now. */
export function warnsOfLeak(signal: AbortSignal): boolean {
  let most: number;
  try {
    most = getMaxListeners(signal);
  } catch {
    return false; // Node throws if the limit is off
  }
  return most > 0 && getEventListeners(signal, 'abort').length > most;
}

/** In an order of their own, for what may happen in any order. */
export function sorted(values: readonly unknown[]): unknown[] {
  const texts = values.map((value) => JSON.stringify(value));
  return texts.toSorted((a, b) => a.localeCompare(b)).map((text) => JSON.parse(text) as unknown);
}

/** An application that closes with its test; its functions need no `this`. */
export interface ServedApp extends Omit<TestApp, 'client' | 'close'> {
  readonly client: (options?: RapClientOptions) => RapClient;
  readonly close: () => Promise<void>;
}

/** Things that end with the test that made them, last one first. */
export interface TestScope {
  /** Serves controllers until the test ends. */
  serve(...args: Parameters<typeof serve>): Promise<ServedApp>;
  /** Runs at the end of the test. */
  defer(work: () => unknown): void;
  /** Stops the clock of the product until the test ends. */
  stopTime(): StoppedTime;
}

/** Call it once in a spec file. */
export function testScope(): TestScope {
  const work: (() => unknown)[] = [];
  let time: StoppedTime | undefined;
  afterEach(async () => {
    time?.resume(); // what ends below may need time
    const errors: unknown[] = [];
    for (const each of work.splice(0).toReversed()) {
      try {
        await each();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  });
  return {
    async serve(...args) {
      const test = await serve(...args);
      const close = (): Promise<void> => test.close();
      work.push(close);
      return { ...test, client: (options) => test.client(options), close };
    },
    defer(each) {
      work.push(each);
    },
    stopTime() {
      time?.resume();
      time = new StoppedTime();
      return time;
    },
  };
}
