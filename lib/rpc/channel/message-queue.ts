import type { Header } from '../../protocol/frame.js';
import { Fifo } from '../fifo.js';

/** A message of a channel that waits for its reader. */
export interface ChannelMessage {
  readonly header: Header;
  readonly body: unknown;
  /** Size on the wire. */
  readonly bytes: number;
  /** What it costs to keep: see `Account`. */
  readonly cost: number;
}

/** Messages in the order in which they came, and their sizes. */
export class MessageQueue {
  /** Bytes that wait. */
  bytes = 0;
  /** What they cost. */
  cost = 0;
  readonly #messages = new Fifo<ChannelMessage>();

  get length(): number {
    return this.#messages.length;
  }

  push(message: ChannelMessage): void {
    this.#messages.push(message);
    this.bytes += message.bytes;
    this.cost += message.cost;
  }

  shift(): ChannelMessage | undefined {
    const message = this.#messages.shift();
    if (!message) return undefined;
    this.bytes -= message.bytes;
    this.cost -= message.cost;
    return message;
  }

  clear(): void {
    this.#messages.clear();
    this.bytes = 0;
    this.cost = 0;
  }
}
