import type {
  ConnectionMiddleware,
  MessageMiddleware,
  ProcessorContext,
  RapConnection,
  RapRequest,
} from './api.js';

/** Runs middleware around a call, the first outermost. `last` is the handler. */
export function aroundCall(
  middleware: readonly MessageMiddleware[],
  request: RapRequest,
  context: ProcessorContext,
  last: () => Promise<unknown>,
): Promise<unknown> {
  return compose(middleware, (it, next) => it.use(request, next, context), last);
}

/** Runs middleware around a connection. `last` serves it, and resolves when it is closed. */
export async function aroundConnection(
  middleware: readonly ConnectionMiddleware[],
  connection: RapConnection,
  last: () => Promise<void>,
): Promise<void> {
  await compose(middleware, (it, next) => it.use(connection, next), last);
}

/** `next` starts the rest in the same tick, and only once. */
function compose<M extends object, T>(
  middleware: readonly M[],
  use: (it: M, next: () => Promise<T>) => unknown,
  last: () => Promise<T>,
): Promise<unknown> {
  const run = (i: number): Promise<unknown> => {
    const it = middleware[i];
    if (!it) return last();
    let called = false;
    const next = (): Promise<T> => {
      const rest = called ? Promise.reject(calledTwice(it)) : (run(i + 1) as Promise<T>);
      called = true;
      rest.catch(() => {}); // no unhandled rejection if `use` does not await it
      return rest;
    };
    // a synchronous throw becomes a rejection
    return new Promise((resolve) => resolve(use(it, next)));
  };
  return run(0);
}

function calledTwice(it: object): Error {
  return new Error(`${it.constructor.name}: next() was called twice`);
}
