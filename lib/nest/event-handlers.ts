import type { MessageHandler } from '@nestjs/microservices';
import { isObservable, type Observable } from 'rxjs';
import type { RapContext } from './rap-context.js';

/**
 * Makes one handler of several for the same event. All of them run to their ends, whatever becomes of the others: Nest's
 * own chain stops the rest at the first failure. What one fails with is logged by Nest, and nobody waits for a result.
 */
export function allOf(handlers: readonly MessageHandler[]): MessageHandler {
  return async (data: unknown, context: RapContext) => {
    await Promise.allSettled(handlers.map(async (handler) => ended(await handler(data, context))));
  };
}

/** Subscribes, or nothing would happen, and waits for the end. */
function ended(result: unknown): unknown {
  if (!isObservable(result)) return result;
  const source: Observable<unknown> = result;
  return new Promise<void>((resolve, reject) => {
    source.subscribe({ error: reject, complete: resolve });
  });
}
