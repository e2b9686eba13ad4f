import { MAX_ID } from '../protocol/frame.js';

/** Serial number comparison: whether an id was assigned after another, at most half the id space later. */
export function isAfter(id: number, other: number): boolean {
  return ((id - other) | 0) > 0;
}

/** Whether the peer cannot have accepted this id, given the last id that it reported as accepted. */
export function isBeyond(id: number, lastTaken: number | undefined): boolean {
  return lastTaken !== undefined && isAfter(id, lastTaken);
}

/** Correlation ids of one side: odd for the client, even for the server; they wrap at 2^32 and skip ids in use. */
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
