import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { callCancelled } from '../call-faults.js';
import type { Channel } from '../channel/channel.js';
import { channelTimeIsOver } from '../time/own-timeout.js';
import { Incoming, LEFT_BY_CALLER, tooMany } from './incoming.js';
import type { IncomingHost } from './incoming-host.js';

/** A channel that the peer opened, and the handler that serves it. */
export class IncomingChannel extends Incoming {
  /** It counts among the channels of the whole server. */
  hasSlot = false;

  constructor(
    host: IncomingHost,
    header: Header,
    readonly channel: Channel,
  ) {
    super(host, channel.id, header);
    channel.whenClosed(() => {
      if (channel.closedByPeer || channel.fault) this.abort(channel.fault ?? callCancelled(LEFT_BY_CALLER));
      else if (this.settle()) this.cancel(callCancelled(LEFT_BY_CALLER)); // the handler, or both sides, ended it in order
    });
  }

  override get kind(): 'channel' {
    return 'channel';
  }

  /** Whether the caller wants a conversation: to a function that is no channel, it has nothing to say. */
  get wantsChannel(): boolean {
    return this.header.accept_stream !== true && this.connection.has(Extension.AcceptStream);
  }

  /** Takes its slot of the whole server. False where there is none: then it has failed with 429, and has ended. */
  takeSlot(): boolean {
    if (this.host.takeSlot(this)) return true;
    this.fail(tooMany('Too many channels'), 'TooManyRequestsError');
    this.ended();
    return false;
  }

  /** The handler has done its part: ends the channel in order. */
  close(): void {
    this.settle();
    this.channel.close();
  }

  /** Says that the channel is open. */
  open(): void {
    this.host.accept(this);
  }

  /** Takes over what middleware has made of the header of its parameters, which stand beside the metadata. */
  acceptParameters(header: Header | undefined): void {
    this.acceptHeader(header);
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
