import { channel } from 'node:diagnostics_channel';

/**
 * Subscriptions to channels of rap, which end together. Node ends the process if a subscriber throws, so what a subscriber throws
 * goes to `onError`: what observes calls must not harm them.
 */
export class Subscriptions {
  readonly #undo: (() => void)[] = [];

  constructor(private readonly onError: (error: unknown) => void) {}

  /** Subscribes to a channel by its name; for a part of a tracing channel that is `tracing:NAME:start` and the like. */
  add<T extends object>(name: string, handle: (message: T) => void): void {
    const guarded = (message: unknown): void => {
      try {
        handle(message as T);
      } catch (error) {
        this.onError(error);
      }
    };
    const to = channel(name);
    to.subscribe(guarded);
    this.#undo.push(() => to.unsubscribe(guarded));
  }

  end(): void {
    for (const undo of this.#undo.splice(0)) undo();
  }
}

/** Calls back for the first error, and after that at most once a minute: an exporter that fails does so with each call. */
export function sparingly(
  tell: (error: unknown) => void,
  now = (): number => performance.now(),
): (error: unknown) => void {
  let next = -Infinity;
  return (error) => {
    if (now() < next) return;
    next = now() + 60_000;
    tell(error);
  };
}
