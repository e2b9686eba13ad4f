import { MAX_ID } from '../protocol/frame.js';

/** Correlation ids of one side: odd for the client, even for the server, wrapping at 2^32, never one that is live. */
export class CorrelationIds {
  #next: number;

  /**
   * @param first 3 for a client, 4 for a server
   * @param isLive whether an id is still in use
   */
  constructor(
    private readonly first: 3 | 4,
    private readonly isLive: (id: number) => boolean,
    start: number = first,
  ) {
    this.#next = start;
  }

  next(): number {
    let id = this.#next;
    while (this.isLive(id)) id = this.#after(id);
    this.#next = this.#after(id);
    return id;
  }

  #after(id: number): number {
    return id + 2 > MAX_ID ? this.first : id + 2;
  }
}
