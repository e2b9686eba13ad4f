import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { callCancelled } from '../call-faults.js';
import type { Channel } from '../channel/channel.js';
import { channelTimeIsOver } from '../time/own-timeout.js';
import { Incoming, CANCELLED_BY_CALLER, tooMany } from './incoming.js';
import type { IncomingHost } from './incoming-host.js';

/** A channel that the peer opened. */
export class IncomingChannel extends Incoming {
  /** Whether it counts towards the server's `maxChannelsTotal`. */
  hasSlot = false;

  constructor(
    host: IncomingHost,
    header: Header,
    readonly channel: Channel,
  ) {
    super(host, channel.id, header);
    channel.whenClosed(() => {
      if (channel.closedByPeer || channel.fault)
        this.abort(channel.fault ?? callCancelled(CANCELLED_BY_CALLER));
      else if (this.settle()) this.cancel(callCancelled(CANCELLED_BY_CALLER)); // an orderly close by the handler, or by both sides
    });
  }

  override get kind(): 'channel' {
    return 'channel';
  }

  /** Whether the caller wants a duplex channel, which a function that is not a channel cannot serve. */
  get wantsChannel(): boolean {
    return this.header.accept_stream !== true && this.connection.has(Extension.AcceptStream);
  }

  /** Takes a slot of the server. If none is free, fails with 429, ends, and returns false. */
  takeSlot(): boolean {
    if (this.host.takeSlot(this)) return true;
    this.fail(tooMany('Too many channels'), 'TooManyRequestsError');
    this.ended();
    return false;
  }

  /** The handler has ended: an orderly close. */
  close(): void {
    this.settle();
    this.channel.close();
  }

  /** Answers DECLARE. */
  open(): void {
    this.host.accept(this);
  }

  /** It goes with the next message, or the end. */
  override setHeader(key: string, value: unknown): void {
    this.channel.addHeader({ [key]: value });
  }

  /** Applies the middleware's changes to the header of its parameters, which come after DECLARE and its metadata. */
  acceptParameters(header: Header | undefined): void {
    this.acceptHeader(header);
  }

  override fail(fault: Fault, name: string): void {
    this.settle(fault);
    this.channel.close(fault, name);
  }

  protected override get isWasted(): boolean {
    return super.isWasted && !this.channel.wroteAny;
  }

  /** The deadline of DECLARE. */
  override expire(): void {
    const { fault, name } = channelTimeIsOver();
    this.cancel(fault);
    this.fail(fault, name);
  }
}
