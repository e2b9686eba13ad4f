import type { Fault } from '../../protocol/fault.js';
import { type ChannelMessage, MessageQueue } from './message-queue.js';
import type { ReadingPause } from '../reading-pause.js';

/** Messages that wait for a reader, where the peer knows no credits: then the whole connection is not read. */
const MAX_QUEUED_MESSAGES = 128;

/** A read that waits for a message. */
export interface WaitingRead {
  /** Who reads, if that may leave. */
  readonly reader?: object | undefined;
  resolve(message: ChannelMessage | undefined): void;
  reject(fault: Fault): void;
}

/** Messages that processors work on before they can be read. */
export interface UnderWay {
  readonly count: number;
  readonly bytes: number;
}

/** What the receiving side asks of its channel. */
export interface InboxOwner {
  /** Whether the reader has got everything that there will be. */
  nothingComes(): boolean;
  /** Why nothing comes, where that is an error. */
  fault(): Fault | undefined;
  /** Whether the peer writes no more: credit would be for nothing. */
  peerIsDone(): boolean;
  underWay(): UnderWay | undefined;
  /** What is kept of the peer costs so much more, or less. */
  charge(cost: number): void;
  /** Lets the peer send so many bytes more. */
  grant(bytes: number): void;
  /** Stops the reading of the connection until the pause is ended. */
  pauseReading(): ReadingPause;
}

/**
 * The receiving side of a channel: what has come and nobody has read, and whoever waits to read. What was read gives the
 * peer room again: by credit, or where it knows none, by reading the connection on.
 */
export class ChannelInbox {
  readonly #queue = new MessageQueue();
  #readers: WaitingRead[] = [];
  /** Bytes that were read and not given back yet. */
  #unreturned = 0;
  /** Bytes that the peer has sent on its window and that were not given back. */
  #outstanding = 0;
  /** What messages cost that have come and were not read, those included that processors work on. */
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

  /** What messages cost that were not read, those included that processors work on. */
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

  /** As `read`, for whoever may lose interest: the function that it returns gives the place in the line away. */
  readInto(reader: WaitingRead): () => void {
    const message = this.poll();
    if (message) reader.resolve(message);
    else this.#wait(reader);
    return () => {
      this.#readers = this.#readers.filter((other) => other !== reader);
    };
  }

  /** Counts a message of the peer. False where it had no credit for it. */
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

  /** Where the peer knows no credits, a full channel stops the reading of the connection. */
  pauseIfFull(): void {
    if (this.creditsAgreed || this.#pause || this.#isReleased || !this.#isFull()) return;
    this.#pause = this.owner.pauseReading();
  }

  /** The channel is over: others are not held up any more. What came before can still be read. */
  release(): void {
    this.#isReleased = true;
    this.#resume();
  }

  /** Nobody reads any more. */
  clear(): void {
    this.#charge(-Math.min(this.#queue.cost, this.#held));
    this.#queue.clear();
  }

  /** What is kept of the channel is no longer the connection's: its handler has ended. */
  letGo(): void {
    this.#charge(-this.#held);
  }

  /** Nothing more comes: whoever waits learns of it. */
  settle(): void {
    for (const reader of this.#readers.splice(0)) this.#tellEnd(reader);
  }

  #wait(reader: WaitingRead): void {
    if (this.owner.nothingComes()) this.#tellEnd(reader);
    else this.#readers.push(reader);
  }

  #tellEnd(reader: WaitingRead): void {
    const fault = this.owner.fault();
    if (fault) reader.reject(fault);
    else reader.resolve(undefined);
  }

  /** Gives credit back in halves of the window, not message by message. */
  #consumed({ bytes, cost }: ChannelMessage): void {
    this.#charge(-Math.min(cost, this.#held));
    if (this.creditsAgreed) {
      this.#unreturned += bytes;
      if (this.#unreturned * 2 < this.window || this.owner.peerIsDone()) return;
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
    const { count = 0, bytes = 0 } = this.owner.underWay() ?? {};
    return this.#queue.length + count >= MAX_QUEUED_MESSAGES || this.#queue.bytes + bytes >= this.window;
  }
}
