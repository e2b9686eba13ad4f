/** Whether calls with the same key go to the same server. */
export class Affinity {
  readonly #last = new Map<number, number>();
  #calls = 0;
  #same = 0;

  went(key: number, server: number): void {
    const last = this.#last.get(key);
    this.#last.set(key, server);
    if (last === undefined) return;
    this.#calls += 1;
    if (last === server) this.#same += 1;
  }

  /** Share of the calls that went to the server of the call before with their key; 0 if there were none. */
  get share(): number {
    return this.#calls === 0 ? 0 : this.#same / this.#calls;
  }
}
