import { captureContext } from './async-context.js';

/** An abort signal whose listeners run in the async context of the code that first asked for it. */
export class ScopedSignal {
  readonly #controller = new AbortController();
  readonly #context = captureContext();

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason?: unknown): void {
    this.#context.runInAsyncScope(() => this.#controller.abort(reason));
  }
}
