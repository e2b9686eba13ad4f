/* oxlint-disable typescript/unbound-method -- a function that runs in a context is called on its object */
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';

/** The part of {@link AsyncResource} that runs something in the async context in which it was made. */
export type CapturedContext = Pick<AsyncResource, 'runInAsyncScope'>;

/** Keeps the async context of the running code, for callbacks that something else will call. */
export function captureContext(): CapturedContext {
  return new AsyncResource('RapCallback');
}

const runIn = AsyncResource.prototype.runInAsyncScope;

/**
 * An async context (the stores of every `AsyncLocalStorage`) in which pieces of work begin that have nothing to do with
 * each other. What one of them leaves behind with `enterWith()` is not seen by the next, nor by the code around.
 */
export class CleanContext {
  readonly #origin = new AsyncResource('RapContext');

  /** Runs work in a context as it was when this object was made, with `self` as its `this`. */
  run<A, T>(work: (argument: A) => T, self: unknown, argument: A): T {
    return runIn.call(this.#fresh(), work as never, self, argument) as T;
  }

  /**
   * With async_hooks (Node 20 and 22), stores are properties of the current resource: an object that inherits those of
   * the origin takes the new ones. That is cheaper than an `AsyncResource` for each, into which all stores are copied.
   */
  #fresh(): AsyncResource {
    return STORES_ARE_RESTORED ? this.#origin : (Object.create(this.#origin) as AsyncResource);
  }
}

/**
 * Whether Node itself undoes `enterWith()` at the end of a scope: it does if stores are in an `AsyncContextFrame`, which
 * Node has by default from 24 on. Older ones are not asked: the first store ever entered there turns on the hooks of
 * promises, and V8 compiles async functions without its fast paths from then on, for as long as the process lives.
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

/** For what outlives the code that happens to start it: connections and timers. */
export const PROCESS_CONTEXT = new CleanContext();
