import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import type { ChannelMessage } from './message-queue.js';

/** Received messages that the reader cannot get yet. */
export interface UnderWay {
  readonly count: number;
  readonly bytes: number;
}

/** Takes the peer's messages from a flow. */
export interface FlowInbox {
  deliver(message: ChannelMessage): void;
  pauseIfFull(): void;
}

/** Takes this side's messages from a flow. */
export interface FlowOutbox {
  /** Sends a message. @throws Fault if it cannot be encoded */
  put(body: unknown, header: Header | undefined): void;
  flush(): void;
}

/** What a flow may do to its channel. */
export interface FlowChannel {
  readonly isClosed: boolean;
  /** Whether the close has been handled, and not only the state is `closed`. */
  readonly isOver: boolean;
  readonly isDeclaring: boolean;
  /** Whether the peer has ended its side: credit would be useless. */
  readonly peerIsDone: boolean;
  readonly outbox: FlowOutbox;
  /** Why nothing can be sent any more; `undefined` if the channel is not closed. */
  refusal(): Fault | undefined;
  sendCredit(bytes: number): void;
  /** Calls back once when the channel is closed; at once if it is. */
  whenClosed(callback: () => void): void;
  /** Sends DROP, unless the peer does not know the channel. */
  sendDrop(fault: Fault | undefined, name?: string): void;
  /** Closes the channel from this side with the fault; without one, unread messages are dropped. */
  endHere(fault: Fault | undefined): void;
  /** The peer closed the channel, or disconnected. */
  peerGone(fault: Fault | undefined): void;
  /** No message of the peer is in the flow any more. */
  idle(): void;
  /** The channel is closed and the flow discarded its messages: the reader gets the fault instead. */
  failReader(fault: Fault | undefined): void;
}

/** Takes messages from the writer to the wire, and from the wire to the reader. */
export interface ChannelFlow {
  /** A message of this side, or an error of the peer, is in the flow; later messages wait. */
  readonly isSending: boolean;
  /** Frames of the peer are in the flow. */
  readonly isReceiving: boolean;
  readonly underWay: UnderWay | undefined;
  /** DECLARE was sent, and the peer has not closed the channel with an error: it accepts frames. */
  readonly isKnownToPeer: boolean;
  /** This side closes the channel, and its last message is in the flow. */
  readonly isClosing: boolean;
  /** The peer closed the channel with an error that is in the flow. */
  readonly isFailing: boolean;

  /** Binds a flow that has state to one channel. */
  attach(channel: FlowChannel): void;
  /** Sends a message; returns a promise if that is asynchronous. @throws (or rejects with) Fault */
  send(body: unknown, header: Header | undefined, outbox: FlowOutbox): void | Promise<void>;
  receive(message: ChannelMessage, inbox: FlowInbox): void;
  /** The answer to DECLARE. */
  declared(answer: Omit<ChannelMessage, 'cost'>, channel: FlowChannel): void;
  /** Gives the peer credit. */
  grant(bytes: number, channel: FlowChannel): void;
  /** The peer closed the channel with an error. */
  fail(fault: Fault, frame: Omit<ChannelMessage, 'cost'>, channel: FlowChannel): void;
  /** This side closes the channel after its pending writes, with an error for the peer if `fault` is set. */
  close(fault: Fault | undefined, name: string | undefined, channel: FlowChannel): void;
  /** The reader discards what is in the flow. */
  abandon(fault: Fault | undefined): void;
  /** The channel is closed. `isReadOn`: messages of the peer in the flow are still delivered. */
  ended(fault: Fault | undefined, isReadOn: boolean): void;
  /** Discards what is in the flow. */
  stop(): void;
  /** The channel is closed, and nothing of the peer is in the flow. */
  over(): void;
}

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

/** The flow of a channel without processors. It is stateless, so all share it. */
export const STRAIGHT: ChannelFlow = new StraightFlow();
