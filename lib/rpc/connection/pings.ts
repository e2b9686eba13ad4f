import type { Fault } from '../../protocol/fault.js';

/** Receives the answer to a ping. */
export interface PingSink {
  resolve(): void;
  reject(reason: Fault): void;
}

export const IGNORE_PING: PingSink = { resolve: () => {}, reject: () => {} };

/** Pings in flight. */
export class Pings {
  readonly #waiting = new Map<number, PingSink>();

  has(id: number): boolean {
    return this.#waiting.has(id);
  }

  add(id: number, sink: PingSink): void {
    this.#waiting.set(id, sink);
  }

  /** An answer to an unknown ping is ignored: false. */
  answered(id: number): boolean {
    const sink = this.#waiting.get(id);
    this.#waiting.delete(id);
    sink?.resolve();
    return sink !== undefined;
  }

  failAll(reason: Fault): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const sink of waiting) sink.reject(reason);
  }
}
