import type { Fault } from '../../protocol/fault.js';
import type { UnderWay } from './channel-flow.js';
import { type ChannelMessage, MessageQueue } from './message-queue.js';
import type { ReadingPause } from '../reading-pause.js';

/** Messages that may wait for a reader if the peer knows no credits: at more, the whole connection is not read. */
const MAX_QUEUED_MESSAGES = 128;

/** A read that waits for a message. */
export interface WaitingRead {
  /** Who reads, if it may leave. */
  readonly reader?: object | undefined;
  resolve(message: ChannelMessage | undefined): void;
  reject(fault: Fault): void;
}

/** What the receiving side asks of its channel. */
export interface InboxOwner {
  /** Whether the reader has got everything that there will be. */
  readonly nothingComes: boolean;
  /** Why nothing comes, if that is an error. */
  readonly fault: Fault | undefined;
  /** Whether the peer writes no more: credit would be useless. */
  readonly peerIsDone: boolean;
  readonly underWay: UnderWay | undefined;
  /** Adds to what is kept of the peer; a negative cost takes off. */
  charge(cost: number): void;
  /** Lets the peer send more bytes. */
  grant(bytes: number): void;
  /** Stops the reading of the connection until the pause is ended. */
  pauseReading(): ReadingPause;
}

/**
 * The receiving side of a channel: messages that were not read, and readers that wait. What was read gives the peer room
 * again: by credit, or if it knows none, by reading the connection on.
 */
export class ChannelInbox {
  readonly #queue = new MessageQueue();
  #readers: WaitingRead[] = [];
  /** Bytes that were read and not given back yet. */
  #unreturned = 0;
  /** Bytes that the peer has sent on its window and that were not given back. */
  #outstanding = 0;
  /** What messages cost that have come and were not read, those under way included. */
  #held = 0;
  #pause: ReadingPause | undefined;
  #isReleased = false;

  constructor(
    /** What the peer may send ahead, in bytes. */
    private readonly window: number,
    private readonly creditsAgreed: boolean,
    private readonly owner: InboxOwner,
  ) {}

  /** Whether a message is there. */
  get hasMessage(): boolean {
    return this.#queue.length > 0;
  }

  /** What messages cost that were not read, those under way included. */
  get unreadCost(): number {
    return this.#held;
  }

  /** A message that is there already. */
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

  /** A reader has left: its reads that wait end as after the last message, and what comes is for others. */
  leave(reader: object): void {
    const left = this.#readers.filter((read) => read.reader === reader);
    if (left.length === 0) return;
    this.#readers = this.#readers.filter((read) => read.reader !== reader);
    for (const read of left) read.resolve(undefined);
  }

  /** As `read`, for a reader that may lose interest: the function that it returns takes it out of the queue. */
  readInto(reader: WaitingRead): () => void {
    const message = this.poll();
    if (message) reader.resolve(message);
    else this.#wait(reader);
    return () => {
      this.#readers = this.#readers.filter((other) => other !== reader);
    };
  }

  /** Counts a message of the peer. False if it had no credit for it. */
  admit(bytes: number, cost: number): boolean {
    this.#outstanding += bytes;
    this.#charge(cost);
    return !this.creditsAgreed || this.#outstanding - bytes < this.window;
  }

  /** A message for the reader. */
  deliver(message: ChannelMessage): void {
    const reader = this.#readers.shift();
    if (reader) {
      reader.resolve(message);
      this.#consumed(message);
      return;
    }
    this.#queue.push(message);
    this.pauseIfFull();
  }

  /** If the peer knows no credits, a full channel stops the reading of the connection. */
  pauseIfFull(): void {
    if (this.creditsAgreed || this.#pause || this.#isReleased || !this.#isFull()) return;
    this.#pause = this.owner.pauseReading();
  }

  /** The channel is over, and no longer pauses the connection. What came before can still be read. */
  release(): void {
    this.#isReleased = true;
    this.#resume();
  }

  /** Nobody reads any more. */
  clear(): void {
    this.#charge(-Math.min(this.#queue.cost, this.#held));
    this.#queue.clear();
  }

  /** The connection no longer accounts for what was not read: the handler of the channel has ended. */
  letGo(): void {
    this.#charge(-this.#held);
  }

  /** Nothing more comes: readers that wait are told. */
  settle(): void {
    for (const reader of this.#readers.splice(0)) this.#tellEnd(reader);
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

  /** Gives credit back in halves of the window, not message by message. */
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
    this.#pause?.end();
    this.#pause = undefined;
  }

  #isFull(): boolean {
    const { count = 0, bytes = 0 } = this.owner.underWay ?? {};
    return this.#queue.length + count >= MAX_QUEUED_MESSAGES || this.#queue.bytes + bytes >= this.window;
  }
}
