import { isThenable } from '../../protocol/values/unknown.js';
import type { BalancerOptions } from './balancer.js';

/** Whether a function that must not be async has returned a promise: its rejection must not end the process. */
export function isPromise(value: unknown): boolean {
  if (!isThenable(value)) return false;
  Promise.resolve(value).catch(() => {});
  return true;
}

/** Tells of each kind of mistake in a user's function once: there may be thousands of calls a second. */
export class Mistakes {
  readonly #told = new Set<string>();

  constructor(private readonly options: BalancerOptions) {}

  /** `message` is one of a few fixed texts. */
  tell(message: string, cause?: unknown): void {
    if (this.#told.has(message)) return;
    this.#told.add(message);
    this.options.mistaken?.(message, cause);
  }
}
