import type { EventHandler, VirtualTime } from '../time/virtual-time.js';
import type { SimCall } from './sim-call.js';

/** The deadlines of calls that all may take equally long: the one that began first is due first. */
export class Deadlines implements EventHandler {
  #calls: SimCall[] = [];
  #start = 0;
  #isWaiting = false;

  constructor(
    private readonly time: VirtualTime,
    private readonly timeoutUs: number,
  ) {}

  add(call: SimCall): void {
    this.#calls.push(call);
    if (!this.#isWaiting) this.#await(call);
  }

  onEvent(): void {
    this.#isWaiting = false;
    const { nowUs } = this.time;
    while (this.#start < this.#calls.length) {
      const call = this.#calls[this.#start] as SimCall;
      if (!call.isSettled && call.startedUs + this.timeoutUs > nowUs) return this.#await(call);
      this.#forgetFirst();
      if (!call.isSettled) call.client.expired(call);
    }
  }

  #await(call: SimCall): void {
    this.#isWaiting = true;
    this.time.at(call.startedUs + this.timeoutUs, this);
  }

  #forgetFirst(): void {
    this.#start += 1;
    if (this.#start < 1_024 || this.#start * 2 < this.#calls.length) return;
    this.#calls = this.#calls.slice(this.#start);
    this.#start = 0;
  }
}
