import { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../../protocol/life-cycle.js';
import { Status } from '../../protocol/status.js';
import { type NamedFault, nameOf, toErrorFrame } from '../../protocol/wire-error.js';
import { ChannelInbox, type WaitingRead } from './channel-inbox.js';
import type { ChannelHost, ChannelOptions } from './channel-options.js';
import { ChannelOutbox } from './channel-outbox.js';
import { ChannelProcessing, type DeclareOutcome } from '../../pipeline/processed-channel.js';
import { CHANNEL_TABLE, type ChannelEvent, type ChannelRefusal, type ChannelState } from './channel-state.js';
import type { ChannelMessage } from './message-queue.js';
import type { MessageView } from '../../pipeline/message-view.js';
import type { Exchange } from '../../pipeline/exchange.js';
import { ScopedSignal } from '../context/scoped-signal.js';

/**
 * A duplex channel, as either side. Messages that came before the end can be read after it; writes wait until the peer
 * has room.
 */
export class Channel {
  readonly id: number;
  metadata: unknown;

  readonly #host: ChannelHost;
  readonly #inbox: ChannelInbox;
  readonly #outbox: ChannelOutbox;
  readonly #halfClose: boolean;
  #state: ChannelState;
  #over = false;
  /** Why it ended; `undefined` for an end in order. */
  #fault: Fault | undefined;
  #signal: ScopedSignal | undefined;
  #onClosed: (() => void)[] = [];
  #onDone: (() => void)[] | undefined;
  /** Its messages on their way through the processors, where there are any. */
  #processing: ChannelProcessing | undefined;
  /** The peer has not got DECLARE yet. */
  #undeclared = false;
  /** Room for the peer, which gets it behind the answer to its DECLARE; `undefined` if that need not be waited for. */
  #heldCredit: number | undefined;
  /** This side ends the channel as soon as its last message has left the processors. */
  #closing: { readonly error: NamedFault | undefined } | undefined;
  /** The peer has ended the channel with an error, which the processors work on. */
  #isFailing = false;
  /** The peer has said all that it may: what follows is a violation. */
  #isHeard = false;
  /** What the processors are told that it ended with. */
  #outcome: Fault | undefined;

  /** What a source that cannot be paused may have waiting, in encoded bytes. */
  readonly maxPushedBytes: number;

  constructor(options: ChannelOptions) {
    this.id = options.id;
    this.metadata = options.metadata;
    this.maxPushedBytes = options.maxPushedBytes;
    this.#host = options.host;
    this.#inbox = this.#receiveWith(options);
    this.#outbox = this.#sendWith(options);
    this.#halfClose = options.halfClose;
    this.#state = options.state;
    if (options.exchange) this.#processing = this.#processWith(options.exchange);
  }

  /** The time that the caller has set for it. */
  limit: { endedByPeer(fault: Fault): Fault } | undefined;

  get state(): ChannelState {
    return this.#state;
  }

  /** Whether this side has sent a message, or the end of its messages. */
  get wroteAny(): boolean {
    return this.#outbox.wroteAny;
  }

  /** Whether the peer ended it: by DROP, by an error, or with its connection. */
  closedByPeer = false;

  /** Whether the answer to DECLARE has not come. */
  get isDeclaring(): boolean {
    return this.#state === 'declaring' || this.#state === 'endedEarly';
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Whether it is over, or this side has ended it and its last message is still with the processors. */
  get isEnding(): boolean {
    return this.isClosed || this.#closing !== undefined;
  }

  /** Why the channel ended, where that was an error. */
  get fault(): Fault | undefined {
    return this.#fault;
  }

  /** Whether a read would give a message, or wait for one that may come. */
  get readable(): boolean {
    return this.#inbox.hasMessage || !this.#nothingComes();
  }

  /** Aborted when the channel is over. Made on first use. */
  get signal(): AbortSignal {
    this.#signal ??= new ScopedSignal();
    if (this.isClosed) this.#signal.abort(this.#fault);
    return this.#signal.signal;
  }

  /** Calls back once when the channel is over, or at once where it is. */
  whenClosed(callback: () => void): void {
    if (this.isClosed) callback();
    else this.#onClosed.push(callback);
  }

  /** The same, when there is nothing of the peer with the processors any more, either: its reader waits for nothing. */
  whenDone(callback: () => void): void {
    if (this.isClosed && !this.#processing?.isReceiving) callback();
    else (this.#onDone ??= []).push(callback);
  }

  // --- reading ------------------------------------------------------------------------------------------------

  /** A message that is there already. */
  poll(): ChannelMessage | undefined {
    return this.#inbox.poll();
  }

  /** The next message; `undefined` after the last one. Rejects with the fault that ended the channel, if one did. */
  read(reader?: object): Promise<ChannelMessage | undefined> {
    return this.#inbox.read(reader);
  }

  /** A reader has left: its reads that wait end as after the last message. */
  leave(reader: object): void {
    this.#inbox.leave(reader);
  }

  /** As `read`, for whoever may lose interest: the function that it returns gives the place in the line away. */
  readInto(reader: WaitingRead): () => void {
    return this.#inbox.readInto(reader);
  }

  /** The peer has nothing more to say: a message that is there, or comes, ends the channel with 1008. */
  expectNoMessages(): void {
    this.#isHeard = true;
    if (this.#inbox.hasMessage)
      this.violated(new Fault({ status: Status.Channel, message: TOO_MANY_MESSAGES }));
  }

  /** What was not read of it is nobody's concern any more. */
  letGo(): void {
    this.#inbox.letGo();
  }

  // --- writing, and the end of it -----------------------------------------------------------------------------

  /** Sends at once where there is room; false where there is none, and then nothing was sent. Throws as `write`. */
  tryWrite(body: unknown, header?: Header): boolean {
    return this.#outbox.tryWrite(body, header);
  }

  /** A body as it is now, for a write that comes later. @throws {@link Fault} if it cannot be encoded */
  hold(body: unknown): unknown {
    return this.#outbox.hold(body);
  }

  /**
   * Sends a message as soon as the peer has room for it.
   *
   * @throws {@link Fault} 10081 after `end` or `close`, the fault that ended the channel, or that of a body that cannot
   * be encoded; `ERR_RAP_OVERLOAD` where 1024 writes wait already.
   */
  write(body: unknown, header?: Header): Promise<void> {
    return this.#outbox.write(body, header);
  }

  /** Says that this side writes no more, after all writes that wait. @throws {@link Fault} where the peer does not know it. */
  end(): Promise<void> {
    return this.#outbox.end();
  }

  /** Ends the channel both ways, at once; the peer learns of the fault. May be called twice. */
  close(fault?: Fault, name?: string): void {
    if (this.isClosed || this.#closing) return;
    if (this.#processing && !this.#undeclared) {
      const error = fault && { fault, name: name ?? nameOf(fault) };
      // what was written before goes first
      if (this.#processing.isSending) this.#closing = { error };
      else this.#closeProcessed(error);
      return;
    }
    this.#sendDrop(fault, name);
    this.#inbox.clear();
    this.#finish(undefined, false);
  }

  /** Ends a channel of which the peer has heard nothing, without a word. False where it has, or is just about to. */
  withdraw(): boolean {
    if (this.isClosed || this.#closing || this.wroteAny || this.#processing?.isSending) return false;
    this.#processing = undefined; // what is said instead goes its own way
    this.#inbox.clear();
    this.#finish(undefined, false, true);
    return true;
  }

  /**
   * Ends the channel at once because this side wants no more of it, whatever the processors still work on: the peer gets
   * DROP, this side the fault.
   */
  cancel(fault?: Fault): void {
    if (this.isClosed) {
      if (this.#processing?.isReceiving) this.#endLate(fault);
      return;
    }
    this.#sendDrop(undefined);
    this.#inbox.clear();
    this.#finish(fault, false);
  }

  /** The peer did what it may not: both sides get the fault. */
  violated(fault: Fault): void {
    if (this.isClosed) return;
    this.#sendDrop(fault);
    this.#finish(fault, false);
  }

  /** What it costs that its reader is behind. */
  get unreadCost(): number {
    return this.isClosed ? 0 : this.#inbox.unreadCost;
  }

  /** Its reader is so far behind that it holds up the connection: what waits is dropped, and both sides get the fault. */
  fallenBehind(fault: Fault): void {
    if (this.isClosed) return;
    this.#inbox.clear();
    this.violated(fault);
  }

  /** The connection has room again. Returns whether writes still wait for it. */
  flushOne(): boolean {
    return this.#outbox.flushOne();
  }

  // --- frames of the peer -------------------------------------------------------------------------------------

  /** Takes a frame of the peer. Returns what is wrong with it, or `undefined`; a wrong frame changes nothing. */
  receive(
    lifeCycle: unknown,
    header: Header,
    body: unknown,
    bytes: number,
    cost: number,
  ): string | undefined {
    if (this.#isFailing) return undefined; // late frames of an end that is known
    switch (lifeCycle) {
      case LifeCycle.Msg: // [102, id, {channel_life_cycle: MSG}, body]
        return this.#step('peerMsg') ?? this.#onMessage(header, body, bytes, cost);
      case LifeCycle.Credit: // [102, id, {channel_life_cycle: CREDIT}, bytes]
        return this.#step('peerCredit') ?? this.#outbox.grant(body);
      case LifeCycle.Declare: // [102, id, {channel_life_cycle: DECLARE}, nil], the answer
        return this.#step('peerDeclare') ?? this.#onDeclared(header, body, bytes);
      case LifeCycle.End: // [102, id, {channel_life_cycle: END}, nil]
        if (!this.#halfClose) return 'half-closed channels were not agreed';
        return this.#step('peerEnd') ?? this.#onEnd();
      case LifeCycle.Drop: // [102, id, {channel_life_cycle: DROP}, nil or error]
        this.peerGone(undefined);
        return undefined;
      default:
        return 'unknown life cycle';
    }
  }

  /** The peer has ended the channel, or is gone. What came before can still be read. */
  peerGone(fault: Fault | undefined): void {
    if (!this.isClosed) this.#finish(fault && (this.limit?.endedByPeer(fault) ?? fault), true);
  }

  /** The connection is gone, and with it what the processors still work on. */
  lost(fault: Fault): void {
    this.#processing?.stop();
    this.peerGone(fault);
  }

  /** The peer has ended the channel with an error. On a client, processors see it as the last message. */
  peerFailed(fault: Fault, header: Header, body: unknown, bytes: number): void {
    const processing = this.#processing;
    if (this.isClosed || this.#isFailing) return;
    if (!processing?.isOfClient) return this.peerGone(fault);
    const view = processing.message(LifeCycle.Drop, header, body, bytes);
    view.fail({ fault, name: nameOf(fault) });
    this.#isFailing = true;
    processing.receive(view, (last) => this.peerGone(last));
  }

  #onMessage(header: Header, body: unknown, bytes: number, cost: number): string | undefined {
    if (this.#isHeard) return TOO_MANY_MESSAGES;
    if (!this.#inbox.admit(bytes, cost)) return 'more bytes than it had credit for';
    if (this.#processing) {
      const view = this.#processing.message(LifeCycle.Msg, header, body, bytes);
      this.#processing.receive(view, () =>
        this.#inbox.deliver({ header: view.outcome as Header, body: view.body, bytes, cost }),
      );
      this.#inbox.pauseIfFull();
    } else this.#inbox.deliver({ header, body, bytes, cost });
    return undefined;
  }

  #onDeclared(header: Header, body: unknown, bytes: number): undefined {
    if (!this.#processing) {
      this.#outbox.flush();
      return;
    }
    const view = this.#processing.message(LifeCycle.Declare, header, body, bytes);
    this.#processing.receive(view, () => this.#outbox.flush());
  }

  #onEnd(): undefined {
    if (this.isClosed) {
      // both sides have ended; the peer may not know that yet, and say DROP as well
      this.#state = 'ended';
      this.#finish(undefined, true, false);
      return;
    }
    if (this.#nothingComes()) this.#inbox.settle();
  }

  // --- inside -------------------------------------------------------------------------------------------------

  #peerIsDone(): boolean {
    return this.#state === 'closed' || this.#state === 'peerEnded';
  }

  /** Whether the reader has got everything that there will be. */
  #nothingComes(): boolean {
    return this.#peerIsDone() && !this.#processing?.isReceiving;
  }

  /** The last frame of the channel: the fault with it where there is one that the connection can carry. */
  #sendDrop(fault: Fault | undefined, name?: string): void {
    if (this.#undeclared) return; // the peer knows of nothing
    try {
      if (fault) {
        const { header, body } = toErrorFrame(fault, name);
        this.#host.send({ channel_life_cycle: LifeCycle.Drop, ...header }, body);
        return;
      }
    } catch {
      // limits that are too small for a fault are large enough for its absence
    }
    this.#host.send(LIFE_CYCLE_HEADER.DROP, null);
  }

  #hasEnded(): void {
    if (this.isClosed) return; // the frame was one too many for the connection
    this.#step('end');
    if (this.isClosed) this.#finish(undefined, false);
  }

  /** Takes a step of the table; says why where it is refused. */
  #step(event: ChannelEvent): ChannelRefusal | undefined {
    const step = CHANNEL_TABLE[this.#state][event];
    if ('refused' in step) return step.refused;
    this.#state = step.to;
    return undefined;
  }

  #assertStep(event: 'msg' | 'end'): void {
    const step = CHANNEL_TABLE[this.#state][event];
    if (this.#outbox.isEnding || this.#closing) throw lifeCycleFault('this side has ended');
    if ('refused' in step) throw this.#fault ?? lifeCycleFault(step.refused);
    if (event === 'end' && !this.#halfClose)
      throw lifeCycleFault('the peer does not know half-closed channels: use close()');
  }

  #finish(fault: Fault | undefined, byPeer: boolean, peerKnows = byPeer): void {
    // the last frame of the channel may be what ends the connection, and with it the channel
    if (this.#over) return;
    this.#over = true;
    this.#state = 'closed';
    this.#fault = fault;
    this.closedByPeer = byPeer;
    this.#inbox.release();
    this.#outbox.fail(fault ?? lifeCycleFault('the channel is closed'));
    this.#outcome ??= fault;
    // what the peer said before its end is read first
    if (!byPeer) this.#processing?.stop();
    if (this.#nothingComes()) this.#inbox.settle();
    this.#signal?.abort(fault);
    this.#host.released(peerKnows);
    for (const callback of this.#onClosed.splice(0)) callback();
    if (!this.#processing?.isReceiving) this.#done();
  }

  #receiveWith({ receiveWindow, sendWindow, host }: ChannelOptions): ChannelInbox {
    return new ChannelInbox(receiveWindow, sendWindow !== undefined, {
      nothingComes: () => this.#nothingComes(),
      fault: () => this.#fault,
      peerIsDone: () => this.#peerIsDone(),
      underWay: () => this.#processing,
      charge: (cost) => host.charge(cost),
      grant: (bytes) => this.#grant(bytes),
      pauseReading: () => host.pauseReading(),
    });
  }

  #grant(bytes: number): void {
    if (this.#heldCredit === undefined) this.#host.send(LIFE_CYCLE_HEADER.CREDIT, bytes);
    else this.#heldCredit += bytes;
  }

  #sendWith({ sendWindow, fastOpen, host }: ChannelOptions): ChannelOutbox {
    return new ChannelOutbox(sendWindow, {
      assertStep: (step) => this.#assertStep(step),
      mayWrite: () => this.#state !== 'declaring' || fastOpen,
      isClosed: () => this.isClosed,
      hasRoom: () => host.hasRoom(),
      send: (header, body) => host.send(header, body),
      hold: (body) => host.hold(body),
      processing: () => this.#processing,
      ended: () => this.#hasEnded(),
    });
  }

  // --- processors ---------------------------------------------------------------------------------------------

  /** Sends DECLARE, or the answer to it, once the processors have seen it. What follows waits. @throws what they throw */
  open(declare: MessageView, send: (declare: MessageView) => void): void {
    if (this.isClosed || !this.#processing) return;
    this.#undeclared = this.isDeclaring;
    this.#heldCredit = this.#undeclared ? undefined : 0;
    const put = (): void => {
      send(declare);
      this.#undeclared = false;
      const credit = this.#heldCredit;
      this.#heldCredit = undefined;
      if (credit) this.#grant(credit);
    };
    try {
      // one that fails later ends the channel, which its owner sees
      this.#processing.send(declare, put, this.#undeclared)?.catch((error: Fault) => this.#endWith(error));
    } catch (error) {
      this.#endWith(error as Fault);
      throw error;
    }
  }

  /** The peer's DECLARE goes through the processors; what follows it waits. */
  opened(exchange: Exchange, declare: MessageView, then: DeclareOutcome): void {
    this.#processing = this.#processWith(exchange);
    this.#processing.declared(declare, then);
  }

  #processWith(exchange: Exchange): ChannelProcessing {
    return new ChannelProcessing(exchange, {
      onIdle: () => {
        if (this.#nothingComes()) this.#inbox.settle();
        if (this.#over) this.#done();
      },
      onSent: () => {
        this.#outbox.flush();
        if (this.#closing && !this.#processing?.isSending) this.#closeProcessed(this.#closing.error);
      },
      failed: (error, isSeen) => {
        if (!isSeen) this.#closeProcessed(error, error.fault);
        else this.#endWith(error.fault, error.name);
        return error.fault;
      },
      refusal: () => (this.#over ? (this.#fault ?? lifeCycleFault('the channel is closed')) : undefined),
    });
  }

  /** Ends the channel once the processors have seen the error that ends it, if one does. `own`: what this side gets. */
  #closeProcessed(error: NamedFault | undefined, own?: Fault): void {
    if (this.#over) return this.#failLate(own);
    this.#closing = { error };
    const end = (last: NamedFault | undefined): void => {
      if (this.#over) return;
      this.#sendDrop(last?.fault, last?.name);
      if (!own) this.#inbox.clear();
      this.#outcome = last?.fault;
      this.#finish(own, false);
    };
    if (error) this.#processing?.last(error, end);
    else end(undefined);
  }

  /** Ends the channel with an error that both sides get, and the processors have seen. */
  #endWith(fault: Fault, name?: string): void {
    if (this.#over) return this.#failLate(fault);
    this.#sendDrop(fault, name);
    this.#finish(fault, false);
  }

  /** A message failed that came before the peer's own end: whoever reads gets the fault instead of the rest. */
  #failLate(fault: Fault | undefined): void {
    if (this.closedByPeer && fault) this.#endLate(fault);
  }

  /** Nobody waits any more for what the peer has said before its end. */
  #endLate(fault: Fault | undefined): void {
    this.#processing?.stop();
    this.#fault ??= fault;
    this.#outcome = fault;
    this.#inbox.settle();
    this.#done();
  }

  /** It is over, and nothing of it is under way. */
  #done(): void {
    this.#processing?.exit(this.#outcome);
    const callbacks = this.#onDone;
    this.#onDone = undefined;
    if (callbacks) for (const callback of callbacks) callback();
  }
}

const TOO_MANY_MESSAGES = 'a stream takes no messages after its parameters';

function lifeCycleFault(message: string): Fault {
  return new Fault({ status: Status.ChannelLifeCycle, message });
}
