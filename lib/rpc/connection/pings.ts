import type { Fault } from '../../protocol/fault.js';

/** Who waits for the answer to a ping. */
export interface PingSink {
  resolve(): void;
  reject(reason: Fault): void;
}

export const IGNORE_PING: PingSink = { resolve: () => {}, reject: () => {} };

/** Pings that wait for their answer. */
export class Pings {
  readonly #waiting = new Map<number, PingSink>();

  has(id: number): boolean {
    return this.#waiting.has(id);
  }

  add(id: number, sink: PingSink): void {
    this.#waiting.set(id, sink);
  }

  /** The peer answered; an answer that nobody waits for is ignored. */
  answered(id: number): void {
    const sink = this.#waiting.get(id);
    this.#waiting.delete(id);
    sink?.resolve();
  }

  failAll(reason: Fault): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const sink of waiting) sink.reject(reason);
  }
}
