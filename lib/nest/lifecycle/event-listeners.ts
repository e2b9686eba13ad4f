import { isThenable } from '../../protocol/values/unknown.js';

/** Listeners of events, called in the order in which they were added. If one fails, the others still run. */
export class EventListeners<Events extends Record<string, (...args: never[]) => unknown>> {
  readonly #listeners = new Map<keyof Events, Events[keyof Events][]>();
  readonly #armed = new Set<keyof Events>();

  constructor(private readonly onError: (error: unknown) => void) {}

  add<K extends keyof Events>(event: K, callback: Events[K]): void {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), callback]);
  }

  emit<K extends keyof Events>(event: K, ...args: Parameters<Events[K]>): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        const result = listener(...args);
        if (isThenable(result)) result.then(undefined, this.onError);
      } catch (error) {
        this.onError(error);
      }
    }
  }

  /** The next `emitArmed` of this event counts. */
  arm(event: keyof Events): void {
    this.#armed.add(event);
  }

  /** Emits an event that happens once for each `arm`. */
  emitArmed<K extends keyof Events>(event: K, ...args: Parameters<Events[K]>): void {
    if (this.#armed.delete(event)) this.emit(event, ...args);
  }
}
