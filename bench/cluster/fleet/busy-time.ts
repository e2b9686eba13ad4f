import type { VirtualTime } from '../time/virtual-time.js';

/** How long the cores of a server were busy. */
export class BusyTime {
  #cores = 0;
  #since = 0;
  #sumUs = 0;

  constructor(private readonly time: VirtualTime) {}

  /** So many are busy from now on. */
  set(cores: number): void {
    const { nowUs } = this.time;
    this.#sumUs += this.#cores * (nowUs - this.#since);
    this.#since = nowUs;
    this.#cores = cores;
  }

  /** Microseconds of all cores until now. */
  get us(): number {
    return this.#sumUs + this.#cores * (this.time.nowUs - this.#since);
  }
}
