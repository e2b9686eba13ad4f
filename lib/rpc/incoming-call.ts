import { Extension } from '../protocol/extension.js';
import { Fault } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import { Status } from '../protocol/status.js';
import type { Channel } from './channel.js';
import { Incoming } from './incoming.js';
import type { Peer } from './peer.js';

/** A unary call of the peer, or an event. It is answered at most once. */
export class IncomingCall extends Incoming {
  /** The stream that the call was turned into. */
  stream: Channel | undefined;
  /** Its time was asked for, by the handler or the caller, and holds for a stream, too. */
  keepsLimit = false;

  constructor(
    peer: Peer,
    id: number,
    header: Header,
    readonly body: unknown,
    /** An event: the peer expects no answer. */
    readonly oneWay: boolean,
  ) {
    super(peer, id, header);
  }

  /** Whether the caller takes a stream as well as one value. */
  get acceptsStream(): boolean {
    return this.header.accept_stream === true && this.peer.has(Extension.AcceptStream);
  }

  /** Answers with a value. A second answer, or one that nobody waits for, is dropped. */
  reply(body: unknown, header: Header | null = null): void {
    if (this.settle()) this.peer.answer(this, header, body);
  }

  override fail(fault: Fault, name: string): void {
    if (this.stream) this.stream.close(fault, name);
    else if (this.settle()) this.peer.answerError(this, fault, name);
  }

  /**
   * Answers with a stream: channel messages under the call's id. `undefined` where the peer does not know such answers,
   * or nobody waits any more.
   */
  turnIntoStream(): Channel | undefined {
    if (this.settled || this.stream) return this.stream;
    const channel = this.peer.turnIntoStream(this);
    if (!channel) return undefined;
    this.stream = channel;
    // the run timeout is for answers; a stream lasts as long as both sides want, unless one of them said otherwise
    if (!this.keepsLimit) this.peer.deadlines.remove(this);
    channel.whenClosed(() => {
      if (channel.fault) this.abort(channel.fault);
      else if (channel.closedByPeer) this.abort(cancelled());
    });
    return channel;
  }

  /** The caller gave up. */
  cancelByPeer(): void {
    if (this.stream) this.stream.peerGone(undefined);
    else this.abort(cancelled());
  }

  protected override get fruitless(): boolean {
    return !this.stream?.wroteAny;
  }

  /** The run timeout. The peer is told in rap's words; the handler keeps its slot until it ends. */
  override expire(): void {
    const fault = new Fault({
      status: Status.Invoke,
      message: 'Call slow timeout',
      remoteName: 'RpcRunTimeError',
    });
    this.fail(fault, 'RpcRunTimeError');
    this.settle();
    this.cancel(fault);
  }
}

/** Why a handler is told to stop whose caller is gone. */
export function cancelled(): Fault {
  return new Fault({
    status: Status.RpcCall,
    code: 'ERR_RAP_CALL_CANCELLED',
    message: 'the caller cancelled',
  });
}
