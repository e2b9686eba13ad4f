import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import type { Channel } from '../channel/channel.js';
import { cancelled } from './incoming-call.js';
import { Incoming, tooMany } from './incoming.js';
import type { MessageView } from '../../pipeline/message-view.js';
import type { ProcessedFlow } from '../../pipeline/processed-channel.js';
import { channelTimeIsOver } from '../time/own-timeout.js';
import type { Peer } from '../connection/peer.js';

/** A channel that the peer opened, and the handler that serves it. */
export class IncomingChannel extends Incoming {
  /** It counts among the channels of the whole server. */
  hasSlot = false;
  /** The way of its messages through the processors, if there are any. */
  flow: ProcessedFlow | undefined;

  constructor(
    peer: Peer,
    header: Header,
    readonly channel: Channel,
  ) {
    super(peer, channel.id, header);
    channel.whenClosed(() => {
      if (channel.closedByPeer || channel.fault) this.abort(channel.fault ?? cancelled());
      else if (this.settle()) this.cancel(cancelled()); // the handler, or both sides, ended it in order
    });
  }

  /** Whether the caller wants a conversation: to a function that is no channel, it has nothing to say. */
  get wantsChannel(): boolean {
    return this.header.accept_stream !== true && this.peer.has(Extension.AcceptStream);
  }

  /** Takes its slot of the whole server. False where there is none: then it has failed with 429, and has ended. */
  takeSlot(): boolean {
    if (this.peer.incoming.takeSlot(this)) return true;
    this.fail(tooMany('Too many channels'), 'TooManyRequestsError');
    this.ended();
    return false;
  }

  /** The handler has done its part: ends the channel in order. */
  close(): void {
    this.settle();
    this.channel.close();
  }

  override accept(message: MessageView): void {
    super.accept(message);
    this.channel.metadata = message.body;
  }

  /** Takes over what middleware made of the parameters of a stream; they stand beside the metadata. */
  acceptParameters(message: MessageView): void {
    super.accept(message);
  }

  /** Its place is free when its last messages have left the processors, too. */
  override ended(): void {
    if (!this.exchange || this.channel.isClosed) super.ended();
    else this.channel.whenClosed(() => super.ended());
  }

  override fail(fault: Fault, name: string): void {
    this.settle();
    this.channel.close(fault, name);
  }

  protected override get fruitless(): boolean {
    return super.fruitless && !this.channel.wroteAny;
  }

  /** The deadline that came with DECLARE. */
  override expire(): void {
    const { fault, name } = channelTimeIsOver();
    this.cancel(fault);
    this.fail(fault, name);
  }
}
