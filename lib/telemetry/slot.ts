/**
 * What a subscriber keeps for each message that it has seen, on the message itself: a `WeakMap` costs more than a call.
 */
export class Slot<M extends object, T> {
  readonly #key: symbol;

  constructor(what: string) {
    this.#key = Symbol(what);
  }

  set(message: M, value: T): void {
    (message as Record<symbol, unknown>)[this.#key] = value;
  }

  get(message: M): T | undefined {
    return (message as Record<symbol, unknown>)[this.#key] as T | undefined;
  }
}
