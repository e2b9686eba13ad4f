/* oxlint-disable typescript/unbound-method -- a function that runs in a context is called on its object */
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';

/** The part of {@link AsyncResource} that runs a function in the async context in which it was made. */
export type CapturedContext = Pick<AsyncResource, 'runInAsyncScope'>;

/** Keeps the async context of the running code, for callbacks that are called from elsewhere. */
export function captureContext(): CapturedContext {
  return new AsyncResource('RapCallback');
}

const runIn = AsyncResource.prototype.runInAsyncScope;

/**
 * An async context (the stores of every `AsyncLocalStorage`) in which independent pieces of work start. What one of them
 * sets with `enterWith()` is not visible to the next, nor to the surrounding code.
 */
export class CleanContext {
  readonly #origin = new AsyncResource('RapContext');

  /** Runs work in a context as it was when this object was made, with `self` as its `this`. */
  run<A, T>(work: (argument: A) => T, self: unknown, argument: A): T {
    return runIn.call(this.#fresh(), work as never, self, argument) as T;
  }

  /**
   * With async_hooks (Node 20 and 22), stores are properties of the current resource: an object that inherits those of
   * the origin receives the new ones. That is cheaper than an `AsyncResource` for each, into which all stores are copied.
   */
  #fresh(): AsyncResource {
    return STORES_ARE_RESTORED ? this.#origin : (Object.create(this.#origin) as AsyncResource);
  }
}

/**
 * Whether Node itself undoes `enterWith()` at the end of a scope: it does if stores are in an `AsyncContextFrame`, which
 * Node has by default from 24 on. Older versions are not tested: the first store that is entered there turns on the promise
 * hooks, and V8 compiles async functions without its fast paths from then on, for the life of the process.
 */
const STORES_ARE_RESTORED = ((): boolean => {
  if (Number(process.versions.node.split('.', 1)[0]) < 24) return false;
  const storage = new AsyncLocalStorage<true>();
  const resource = new AsyncResource('RapProbe');
  resource.runInAsyncScope(() => storage.enterWith(true));
  const isKept = resource.runInAsyncScope(() => storage.getStore());
  storage.disable();
  return !isKept;
})();

/** For connections and timers, which outlive the code that happens to start them. */
export const PROCESS_CONTEXT = new CleanContext();
