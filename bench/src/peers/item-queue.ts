/** Holds the items that a source pushes until a reader asks for them. */
export class ItemQueue {
  private items: unknown[] = [];
  private head = 0;
  private waiting: ((item: unknown) => void) | undefined;

  get isEmpty(): boolean {
    return this.head === this.items.length;
  }

  push(item: unknown): void {
    const { waiting } = this;
    if (!waiting) {
      this.items.push(item);
      return;
    }
    this.waiting = undefined;
    waiting(item);
  }

  /** One reader at a time. */
  async read(): Promise<unknown> {
    if (this.isEmpty) return new Promise((resolve) => (this.waiting = resolve));
    const item = this.items[this.head];
    this.items[this.head] = undefined;
    this.head += 1;
    if (this.isEmpty) {
      this.items = [];
      this.head = 0;
    }
    return item;
  }
}
