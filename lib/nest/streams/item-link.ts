/** Who reads what an Observable emits. */
export interface ItemReader {
  /** A stream begins, however many items it has. */
  begin(): void;
  /** Resolves when all that was emitted so far has been taken; `undefined` where it has. */
  taken(): Promise<void> | undefined;
  /** Ends the answer with an error that interceptors and filters have nothing to do with. */
  fail(error: unknown): void;
}

/** What the source of a stream and its reader know of each other, with Nest's interceptors between them. */
export class ItemLink {
  reader: ItemReader | undefined;
  /** Values that have come through the interceptors. */
  count = 0;
  readonly #endings: Promise<void>[] = [];

  /** A source is left before its end. */
  leaving(ending: Promise<void>): void {
    this.#endings.push(ending);
  }

  /** Resolves when every source that was left has ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#endings);
  }
}
