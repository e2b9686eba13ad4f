/** Something that holds bytes of an unfinished frame. */
export interface BudgetHolder {
  /** The budget is exceeded and this holder is the oldest: release everything. */
  evict(): void;
}

/** Limits the bytes of unfinished frames that all connections of a server hold together; the oldest is evicted first. */
export class InputBudget {
  #total = 0;
  /** In the order in which their frames began. */
  readonly #held = new Map<BudgetHolder, number>();

  constructor(private readonly maxBytes: number) {}

  /** Sets how many bytes `holder` holds now; 0 when its frame is whole or given up. */
  set(holder: BudgetHolder, bytes: number): void {
    const before = this.#held.get(holder) ?? 0;
    this.#total += bytes - before;
    if (bytes === 0) this.#held.delete(holder);
    else this.#held.set(holder, bytes);
    while (this.#total > this.maxBytes) {
      const [oldest] = this.#held.keys();
      if (!oldest) return;
      this.set(oldest, 0);
      oldest.evict();
    }
  }
}
