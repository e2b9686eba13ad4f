import type { Header } from '../../protocol/frame.js';

/** A message of a channel that waits for its reader. */
export interface ChannelMessage {
  readonly header: Header;
  readonly body: unknown;
  /** Size on the wire. */
  readonly bytes: number;
  /** What it costs to keep: see `Account`. */
  readonly cost: number;
}

/** First in, first out, without shifting an array. */
export class MessageQueue {
  /** Bytes that wait. */
  bytes = 0;
  /** What they cost. */
  cost = 0;
  #items: (ChannelMessage | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(message: ChannelMessage): void {
    this.#items.push(message);
    this.bytes += message.bytes;
    this.cost += message.cost;
  }

  shift(): ChannelMessage | undefined {
    const message = this.#items[this.#head];
    if (!message) return undefined;
    this.#items[this.#head++] = undefined;
    this.bytes -= message.bytes;
    this.cost -= message.cost;
    if (this.#head === this.#items.length) {
      this.#items.length = 0;
      this.#head = 0;
    } else if (this.#head >= 1024 && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return message;
  }

  clear(): void {
    this.#items = [];
    this.#head = 0;
    this.bytes = 0;
    this.cost = 0;
  }
}
