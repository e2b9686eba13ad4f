/** The mean of a number over a time. */
export class TimeMean {
  #sum = 0;
  /** When the time began; `NaN` before. */
  #since = NaN;
  /** Until when the sum counts. */
  #until = NaN;

  /** The number was this since it was told last, and may change now. */
  add(value: number, now: number): void {
    if (Number.isNaN(this.#since)) this.#since = this.#until = now;
    if (now <= this.#until) return;
    this.#sum += value * (now - this.#until);
    this.#until = now;
  }

  /** The mean since the last `take`, or the first `add`; `value` if no time has passed. */
  take(value: number, now: number): number {
    this.add(value, now);
    const mean = this.#until > this.#since ? this.#sum / (this.#until - this.#since) : value;
    this.#sum = 0;
    this.#since = this.#until;
    return mean;
  }
}
