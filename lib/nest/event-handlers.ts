import type { MessageHandler } from '@nestjs/microservices';
import { isObservable, type Observable, throwError } from 'rxjs';
import type { RapContext } from './rap-context.js';

/**
 * Makes one handler of several for the same event. All of them run to their ends, whatever becomes of the others: Nest's
 * own chain stops the rest at the first failure. The first failure is what a peer is told that knows no events, and
 * called it as a function.
 */
export function allOf(handlers: readonly MessageHandler[]): MessageHandler {
  return async (data: unknown, context: RapContext) => {
    const run = async (handler: MessageHandler): Promise<Observable<never> | undefined> =>
      failureOf(await handler(data, context));
    const results = await Promise.allSettled(handlers.map(run));
    for (const result of results) {
      // Nest's handlers never reject: what does has been seen by no filter
      if (result.status === 'rejected') throw result.reason;
      if (result.value) return result.value;
    }
    return undefined;
  };
}

/** Subscribes, or nothing would happen, and waits for the end. Gives the failure in Nest's own form. */
function failureOf(result: unknown): Promise<Observable<never> | undefined> | undefined {
  if (!isObservable(result)) return undefined;
  const source: Observable<unknown> = result;
  return new Promise((resolve) => {
    source.subscribe({
      error: (error: unknown) => resolve(throwError(() => error)),
      complete: () => resolve(undefined),
    });
  });
}
