/** The reader of an Observable. */
export interface ItemReader {
  /** A stream begins, even if it has no items. */
  begin(): void;
  /** Resolves when all emitted items have been taken; `undefined` if none waits. */
  taken(): Promise<void> | undefined;
  /** Ends the answer with an error that interceptors and filters must not see. */
  fail(error: unknown): void;
}

/** Connects the source of a stream with its reader past Nest's interceptors. */
export class ItemLink {
  reader: ItemReader | undefined;
  /** Number of values that have passed the interceptors. */
  count = 0;
  readonly #endings: Promise<void>[] = [];

  /** A source is ended early; `ending` is its clean-up. */
  leaving(ending: Promise<void>): void {
    this.#endings.push(ending);
  }

  /** Resolves when the clean-up of every source that was ended early is done. */
  async ended(): Promise<void> {
    await Promise.all(this.#endings);
  }
}
