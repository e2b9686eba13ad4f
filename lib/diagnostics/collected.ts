import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { RapCollection } from './messages.js';
import { collection } from './channels.js';

/** Answers `rap.collect` while it is on: a server or client that has something to tell. */
export class Collected {
  readonly #onMessage: (message: unknown) => void;
  #isOn = false;

  constructor(tell: (collection: RapCollection) => void) {
    this.#onMessage = (message) => tell(message as RapCollection);
  }

  /** @param isOn whether it has something to tell from now on */
  set(isOn: boolean): void {
    if (isOn === this.#isOn) return;
    this.#isOn = isOn;
    // Node keeps a channel, and those that have subscribed to it, as long as there is one
    if (isOn) subscribe(collection.name, this.#onMessage);
    else unsubscribe(collection.name, this.#onMessage);
  }
}
