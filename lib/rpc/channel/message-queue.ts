import type { Header } from '../../protocol/frame.js';
import { Fifo } from '../fifo.js';

/** A received message of a channel. */
export interface ChannelMessage {
  readonly header: Header;
  readonly body: unknown;
  /** Size on the wire. */
  readonly bytes: number;
  /** Cost: see `Account`. */
  readonly cost: number;
}

/** A FIFO of messages with their total size. */
export class MessageQueue {
  bytes = 0;
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
