/** An end that listeners are told of, who may start again: that waits until the end is complete. */
export class OrderlyEnd {
  #isUnderWay = false;
  #startsAgain = false;

  constructor(private readonly start: () => void) {}

  /** Runs what ends; it may come from inside of itself, and then revokes a start that waits. */
  run(work: () => void): void {
    const isInside = this.#isUnderWay;
    this.#isUnderWay = true;
    this.#startsAgain = false;
    try {
      work();
    } finally {
      this.#isUnderWay = isInside;
    }
    if (!isInside && this.#startsAgain) this.start();
  }

  /** Starts again when the end is complete. @returns false if no end is under way */
  defersStart(): boolean {
    this.#startsAgain = this.#isUnderWay;
    return this.#isUnderWay;
  }
}
