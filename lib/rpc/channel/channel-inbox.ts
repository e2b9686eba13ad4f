import type { Fault } from '../../protocol/fault.js';
import type { UnderWay } from './channel-flow.js';
import { type ChannelMessage, MessageQueue } from './message-queue.js';
import type { ReadingPause } from '../reading-pause.js';

/** Unread messages at which, without credits, reading of the whole connection pauses. */
const MAX_QUEUED_MESSAGES = 128;

/** A read without a message yet. */
export interface WaitingRead {
  /** Identifies the reader to `leave`. */
  readonly reader?: object | undefined;
  resolve(message: ChannelMessage | undefined): void;
  reject(fault: Fault): void;
}

/** What the receiving side needs from its channel. */
export interface InboxOwner {
  /** Whether no message can come any more. */
  readonly nothingComes: boolean;
  /** The error that ended the channel, if one did. */
  readonly fault: Fault | undefined;
  /** Whether the peer has ended its side: credit would be useless. */
  readonly peerIsDone: boolean;
  readonly underWay: UnderWay | undefined;
  /** Charges the connection's account; a negative cost releases. */
  charge(cost: number): void;
  /** Grants the peer credit. */
  grant(bytes: number): void;
  /** Pauses reading of the connection until the pause is ended. */
  pauseReading(): ReadingPause;
}

/**
 * The receiving side of a channel: unread messages, and waiting reads. Flow control is by credit, or, if the peer does not
 * support it, by pausing the reading of the connection.
 */
export class ChannelInbox {
  /** Messages that were received. */
  receivedCount = 0;
  readonly #queue = new MessageQueue();
  #readers: WaitingRead[] = [];
  #onReadable: (() => void)[] | undefined;
  /** Bytes that were read and not returned as credit yet. */
  #unreturned = 0;
  /** Bytes of the window that the peer has used. */
  #outstanding = 0;
  /** Cost of unread messages, those in the flow included. */
  #held = 0;
  #pause: ReadingPause | undefined;
  #isReleased = false;

  constructor(
    /** Receive window, in bytes. */
    private readonly window: number,
    private readonly creditsAgreed: boolean,
    private readonly owner: InboxOwner,
  ) {}

  get hasMessage(): boolean {
    return this.#queue.length > 0;
  }

  /** Cost of unread messages, those in the flow included. */
  get unreadCost(): number {
    return this.#held;
  }

  /** A message that was received already. */
  poll(): ChannelMessage | undefined {
    const message = this.#queue.shift();
    if (message) this.#consumed(message);
    return message;
  }

  /** The next message; `undefined` after the last one. Rejects with the fault that ended the channel, if one did. */
  read(reader?: object): Promise<ChannelMessage | undefined> {
    const message = this.poll();
    if (message) return Promise.resolve(message);
    return new Promise((resolve, reject) => this.#wait({ resolve, reject, reader }));
  }

  /** Ends the waiting reads of a reader as after the last message; later messages go to others. */
  leave(reader: object): void {
    const left = this.#readers.filter((read) => read.reader === reader);
    if (left.length === 0) return;
    this.#readers = this.#readers.filter((read) => read.reader !== reader);
    for (const read of left) read.resolve(undefined);
  }

  /** As `read`. Returns a function that cancels the read. */
  readInto(reader: WaitingRead): () => void {
    const message = this.poll();
    if (message) reader.resolve(message);
    else this.#wait(reader);
    return () => {
      this.#readers = this.#readers.filter((other) => other !== reader);
    };
  }

  /** Calls back once when a message waits to be read, or none can come any more; at once if that is so. */
  whenReadable(callback: () => void): void {
    if (this.hasMessage || this.owner.nothingComes) callback();
    else (this.#onReadable ??= []).push(callback);
  }

  /** Counts a received message. False if the peer had no credit for it. */
  admit(bytes: number, cost: number): boolean {
    this.#outstanding += bytes;
    this.#charge(cost);
    return !this.creditsAgreed || this.#outstanding - bytes < this.window;
  }

  deliver(message: ChannelMessage): void {
    this.receivedCount += 1;
    const reader = this.#readers.shift();
    if (reader) {
      reader.resolve(message);
      this.#consumed(message);
      return;
    }
    this.#queue.push(message);
    this.pauseIfFull();
    if (this.#onReadable) this.#tellReadable();
  }

  /** Without credits, a full channel pauses reading of the connection. */
  pauseIfFull(): void {
    if (this.creditsAgreed || this.#pause || this.#isReleased || !this.#isFull()) return;
    this.#pause = this.owner.pauseReading();
  }

  /** The channel is closed and no longer pauses the connection. Received messages can still be read. */
  release(): void {
    this.#isReleased = true;
    this.#resume();
  }

  /** Drops unread messages. */
  clear(): void {
    this.#charge(-Math.min(this.#queue.cost, this.#held));
    this.#queue.clear();
  }

  /** Stops charging for unread messages, which may outlive the handler. */
  uncharge(): void {
    this.#charge(-this.#held);
  }

  /** No message can come any more: ends the waiting reads. */
  settle(): void {
    for (const reader of this.#readers.splice(0)) this.#tellEnd(reader);
    if (this.#onReadable) this.#tellReadable();
  }

  #tellReadable(): void {
    const callbacks = this.#onReadable;
    this.#onReadable = undefined;
    if (callbacks) for (const callback of callbacks) callback();
  }

  #wait(reader: WaitingRead): void {
    if (this.owner.nothingComes) this.#tellEnd(reader);
    else this.#readers.push(reader);
  }

  #tellEnd(reader: WaitingRead): void {
    const fault = this.owner.fault;
    if (fault) reader.reject(fault);
    else reader.resolve(undefined);
  }

  /** Returns credit per half of the window, not per message. */
  #consumed({ bytes, cost }: ChannelMessage): void {
    this.#charge(-Math.min(cost, this.#held));
    if (this.creditsAgreed) {
      this.#unreturned += bytes;
      if (this.#unreturned * 2 < this.window || this.owner.peerIsDone) return;
      this.#outstanding -= this.#unreturned;
      this.owner.grant(this.#unreturned);
      this.#unreturned = 0;
    } else if (this.#queue.length * 2 <= MAX_QUEUED_MESSAGES) this.#resume();
    else this.#pause?.progress();
  }

  #charge(cost: number): void {
    if (cost === 0) return;
    this.#held += cost;
    this.owner.charge(cost);
  }

  #resume(): void {
    const pause = this.#pause;
    this.#pause = undefined; // first: frames that waited are read at once, and may end this channel
    pause?.end();
  }

  #isFull(): boolean {
    const { count = 0, bytes = 0 } = this.owner.underWay ?? {};
    return this.#queue.length + count >= MAX_QUEUED_MESSAGES || this.#queue.bytes + bytes >= this.window;
  }
}
