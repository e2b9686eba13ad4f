import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import type { NamedFault } from '../../protocol/wire-error.js';
import { callCancelled } from '../call-faults.js';
import type { Channel } from '../channel/channel.js';
import { callTimeIsOver, channelTimeIsOver } from '../time/own-timeout.js';
import { Incoming, CANCELLED_BY_CALLER } from './incoming.js';
import type { IncomingHost } from './incoming-host.js';

/** A unary call of the peer, or an event. It is answered at most once. */
export class IncomingCall extends Incoming {
  /** The stream that answers the call. */
  stream: Channel | undefined;
  /** The time limit was set by the handler or the caller, and so holds for a stream, too. */
  keepsLimit = false;
  /** Size on the wire. */
  bytes = 0;
  /** It counts towards the load of the server. */
  isMetered = false;
  /** Its answer is queued, or in the processors. */
  isAnswerPending = false;
  /** The handler has ended; its answer may still be pending. */
  protected hasEnded = false;

  constructor(
    host: IncomingHost,
    id: number,
    header: Header,
    public body: unknown,
    /** An event, which is not answered. */
    readonly oneWay: boolean,
  ) {
    super(host, id, header);
  }

  override get kind(): 'call' {
    return 'call';
  }

  /** Whether the caller accepts a stream as well as one value. */
  get acceptsStream(): boolean {
    return this.header.accept_stream === true && this.connection.has(Extension.AcceptStream);
  }

  /** Answers with a value. An answer after the call has settled is dropped. */
  reply(body: unknown): void {
    if (this.settle()) this.host.answer(this, this.replyHeader, body);
  }

  /** Of a stream, it goes with the next value, or the end. */
  override setHeader(key: string, value: unknown): void {
    super.setHeader(key, value);
    this.stream?.addHeader({ [key]: value });
  }

  override fail(fault: Fault, name: string): void {
    if (this.revertToCall()) return this.failAsCall({ fault, name });
    this.observer?.failed(fault);
    this.stream?.close(fault, name);
  }

  protected failAsCall({ fault, name }: NamedFault): void {
    if (this.settle(fault)) this.host.answerError(this, fault, name, this.replyHeader);
  }

  /** Applies the changes of processors or middleware; a header of `undefined` is unchanged. */
  accept(header: Header | undefined, body: unknown): void {
    this.acceptHeader(header);
    this.body = body;
  }

  /** The slot is free only after the answer was sent, too. */
  override ended(): void {
    this.hasEnded = true;
    if (!this.isAnswerPending) super.ended();
  }

  /** The queued answer was sent, or its connection is closed. */
  answerSent(): void {
    this.isAnswerPending = false;
    if (this.hasEnded) this.ended();
  }

  /**
   * Answers with a stream: channel messages under the call's id. `undefined` if the peer does not support that, or the call
   * has settled.
   */
  turnIntoStream(): Channel | undefined {
    if (this.settled || this.stream) return this.stream;
    const channel = this.host.turnIntoStream(this);
    if (!channel) return undefined;
    this.stream = channel;
    if (this.replyHeader) channel.addHeader(this.replyHeader);
    // the run timeout is for answers; a stream is not limited unless one side asked for it
    if (!this.keepsLimit) this.unlimit();
    channel.whenClosed(() => {
      channel.uncharge(); // the caller has nothing to say in a stream, and nobody reads it
      if (channel.fault) this.abort(channel.fault);
      else if (channel.closedByPeer) this.abort(callCancelled(CANCELLED_BY_CALLER));
    });
    return channel;
  }

  /** The caller cancelled. */
  cancelByPeer(): void {
    if (this.stream) this.stream.peerGone(undefined);
    else this.abort(callCancelled(CANCELLED_BY_CALLER));
  }

  protected override get isWasted(): boolean {
    return super.isWasted && !this.stream?.wroteAny;
  }

  /** The run timeout. The peer gets rap's error; the handler keeps its slot until it ends. */
  override expire(): void {
    const error = this.stream ? channelTimeIsOver() : callTimeIsOver();
    if (this.revertToCall()) this.expireAsCall(error);
    else {
      this.stream?.close(error.fault, error.name);
      this.settle(error.fault);
    }
    this.cancel(error.fault);
  }

  /** It timed out, and is answered as a call. */
  protected expireAsCall(error: NamedFault): void {
    this.failAsCall(error);
  }

  /** Withdraws a stream that the peer does not know yet. Returns whether it is answered as a call. */
  revertToCall(): boolean {
    if (this.stream && !this.stream.withdraw()) return false;
    this.stream = undefined;
    return true;
  }
}
