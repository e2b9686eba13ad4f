import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import type { ChannelMessage } from './message-queue.js';

/** Messages of the peer that have come and cannot be read yet. */
export interface UnderWay {
  readonly count: number;
  readonly bytes: number;
}

/** Where a flow puts the messages of the peer. */
export interface FlowInbox {
  deliver(message: ChannelMessage): void;
  pauseIfFull(): void;
}

/** Where a flow puts the messages of this side. */
export interface FlowOutbox {
  /** Sends a message. @throws Fault if it cannot be encoded */
  put(body: unknown, header: Header | undefined): void;
  flush(): void;
}

/** What a flow may do to its channel. */
export interface FlowChannel {
  readonly isClosed: boolean;
  /** As `isClosed`, and everything that ends with the channel has been told. */
  readonly isOver: boolean;
  readonly isDeclaring: boolean;
  /** Whether the peer writes no more: credit would be useless. */
  readonly peerIsDone: boolean;
  readonly outbox: FlowOutbox;
  /** Why nothing can be sent any more, if the channel is over. */
  refusal(): Fault | undefined;
  sendCredit(bytes: number): void;
  /** Calls back once when the channel is over; at once if it is. */
  whenClosed(callback: () => void): void;
  /** Sends the last frame of the channel, unless the peer does not know of the channel. */
  sendDrop(fault: Fault | undefined, name?: string): void;
  /** Ends the channel from this side, which gets the fault; without one, what was not read is dropped. */
  endHere(fault: Fault | undefined): void;
  /** The peer has ended the channel, or is gone. */
  peerGone(fault: Fault | undefined): void;
  /** Nothing of the peer is under way any more. */
  idle(): void;
  /** The channel is over, and what is under way will not come: the reader gets the fault instead. */
  failReader(fault: Fault | undefined): void;
}

/** How the messages of a channel get from the writer to the wire, and from the wire to the reader. */
export interface ChannelFlow {
  /** A message of this side is under way, or an error of the peer; the others wait. */
  readonly isSending: boolean;
  /** Something of the peer is under way. */
  readonly isReceiving: boolean;
  readonly underWay: UnderWay | undefined;
  /** DECLARE has left, and the peer has not ended the channel with an error: it listens. */
  readonly isKnownToPeer: boolean;
  /** This side has ended the channel, and its last message is under way. */
  readonly isClosing: boolean;
  /** The peer has ended the channel with an error that is under way. */
  readonly isFailing: boolean;

  /** A flow with state belongs to one channel, from here on. */
  attach(channel: FlowChannel): void;
  /** Sends a message; a promise if that takes time. @throws (or rejects with) Fault */
  send(body: unknown, header: Header | undefined, outbox: FlowOutbox): void | Promise<void>;
  /** A message of the peer. */
  receive(message: ChannelMessage, inbox: FlowInbox): void;
  /** The answer to DECLARE. */
  declared(answer: Omit<ChannelMessage, 'cost'>, channel: FlowChannel): void;
  /** Gives the peer credit. */
  grant(bytes: number, channel: FlowChannel): void;
  /** The peer has ended the channel with an error. */
  fail(fault: Fault, frame: Omit<ChannelMessage, 'cost'>, channel: FlowChannel): void;
  /** This side ends the channel in order, or with an error for the peer, behind what it has written. */
  close(fault: Fault | undefined, name: string | undefined, channel: FlowChannel): void;
  /** The reader gives up what is under way. */
  abandon(fault: Fault | undefined): void;
  /** The channel has ended. `isReadOn`: what the peer said before, and is under way, still arrives. */
  ended(fault: Fault | undefined, isReadOn: boolean): void;
  /** Nothing that is under way arrives any more. */
  stop(): void;
  /** The channel has ended, and nothing of the peer is under way. */
  over(): void;
}

/** Nothing stands between a channel and the wire. */
class StraightFlow implements ChannelFlow {
  readonly isSending = false;
  readonly isReceiving = false;
  readonly underWay = undefined;
  readonly isKnownToPeer = true;
  readonly isClosing = false;
  readonly isFailing = false;

  attach(): void {}

  send(body: unknown, header: Header | undefined, outbox: FlowOutbox): void {
    outbox.put(body, header);
  }

  receive(message: ChannelMessage, inbox: FlowInbox): void {
    inbox.deliver(message);
  }

  declared(_answer: unknown, { outbox }: FlowChannel): void {
    outbox.flush();
  }

  grant(bytes: number, channel: FlowChannel): void {
    channel.sendCredit(bytes);
  }

  fail(fault: Fault, _frame: unknown, channel: FlowChannel): void {
    channel.peerGone(fault);
  }

  close(fault: Fault | undefined, name: string | undefined, channel: FlowChannel): void {
    channel.sendDrop(fault, name);
    channel.endHere(undefined);
  }

  abandon(): void {}

  ended(): void {}

  stop(): void {}

  over(): void {}
}

/** The flow of every plain channel. It has no state. */
export const STRAIGHT: ChannelFlow = new StraightFlow();
