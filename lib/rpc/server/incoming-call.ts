import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import type { NamedFault } from '../../protocol/wire-error.js';
import { callCancelled } from '../call-faults.js';
import type { Channel } from '../channel/channel.js';
import { callTimeIsOver, channelTimeIsOver } from '../time/own-timeout.js';
import { Incoming, LEFT_BY_CALLER } from './incoming.js';
import type { IncomingHost } from './incoming-host.js';

/** A unary call of the peer, or an event. It is answered at most once. */
export class IncomingCall extends Incoming {
  /** The stream that the call was turned into. */
  stream: Channel | undefined;
  /** Its time was asked for, by the handler or the caller, and holds for a stream, too. */
  keepsLimit = false;
  /** Size on the wire. */
  bytes = 0;
  /** Its answer has not left yet: it waits until less is unsent. */
  isLeaving = false;
  /** The handler has ended, and maybe before the answer left. */
  protected hasEnded = false;

  constructor(
    host: IncomingHost,
    id: number,
    header: Header,
    public body: unknown,
    /** An event: the peer expects no answer. */
    readonly oneWay: boolean,
  ) {
    super(host, id, header);
  }

  override get kind(): 'call' {
    return 'call';
  }

  /** Whether the caller takes a stream as well as one value. */
  get acceptsStream(): boolean {
    return this.header.accept_stream === true && this.connection.has(Extension.AcceptStream);
  }

  /** Answers with a value. A second answer, or one that nobody waits for, is dropped. */
  reply(body: unknown, header: Header | null = null): void {
    if (this.settle()) this.host.answer(this, header, body);
  }

  override fail(fault: Fault, name: string): void {
    if (this.leavesStream()) this.failAsCall({ fault, name });
    else this.stream?.close(fault, name);
  }

  /** Answers with an error. */
  protected failAsCall({ fault, name }: NamedFault): void {
    if (this.settle()) this.host.answerError(this, fault, name);
  }

  /** Takes over what processors or middleware have made of it; a header of `undefined` is what it was. */
  accept(header: Header | undefined, body: unknown): void {
    this.acceptHeader(header);
    this.body = body;
  }

  /** Its slot is free when the answer has left, too. */
  override ended(): void {
    this.hasEnded = true;
    if (!this.isLeaving) super.ended();
  }

  /** The answer that had to wait has left, or is lost with its connection. */
  hasLeft(): void {
    this.isLeaving = false;
    if (this.hasEnded) this.ended();
  }

  /**
   * Answers with a stream: channel messages under the call's id. `undefined` if the peer does not know such answers, or
   * nobody waits any more.
   */
  turnIntoStream(): Channel | undefined {
    if (this.settled || this.stream) return this.stream;
    const channel = this.host.turnIntoStream(this);
    if (!channel) return undefined;
    this.stream = channel;
    // the run timeout is for answers; a stream lasts as long as both sides want, unless one of them said otherwise
    if (!this.keepsLimit) this.unlimit();
    channel.whenClosed(() => {
      channel.letGo(); // the caller has nothing to say in a stream, and nobody reads it
      if (channel.fault) this.abort(channel.fault);
      else if (channel.closedByPeer) this.abort(callCancelled(LEFT_BY_CALLER));
    });
    return channel;
  }

  /** The caller gave up. */
  cancelByPeer(): void {
    if (this.stream) this.stream.peerGone(undefined);
    else this.abort(callCancelled(LEFT_BY_CALLER));
  }

  protected override get fruitless(): boolean {
    return super.fruitless && !this.stream?.wroteAny;
  }

  /** The run timeout. The peer is told in rap's words; the handler keeps its slot until it ends. */
  override expire(): void {
    const error = this.stream ? channelTimeIsOver() : callTimeIsOver();
    if (this.leavesStream()) this.expireAsCall(error);
    else {
      this.stream?.close(error.fault, error.name);
      this.settle();
    }
    this.cancel(error.fault);
  }

  /** Its time is over, and it is answered as a call. */
  protected expireAsCall(error: NamedFault): void {
    this.failAsCall(error);
  }

  /** Whether it is answered as a call: it is not a stream, or was to be one of which the peer has not heard. */
  leavesStream(): boolean {
    if (this.stream && !this.stream.withdraw()) return false;
    this.stream = undefined;
    return true;
  }
}
