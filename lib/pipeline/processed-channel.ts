import type { Fault } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import { LifeCycle } from '../protocol/life-cycle.js';
import { headerAsItIs } from '../protocol/snapshot.js';
import { type NamedFault, nameOf } from '../protocol/wire-error.js';
import type {
  ChannelFlow,
  FlowChannel,
  FlowInbox,
  FlowOutbox,
  UnderWay,
} from '../rpc/channel/channel-flow.js';
import type { ChannelMessage } from '../rpc/channel/message-queue.js';
import { afterwards } from './afterwards.js';
import type { Exchange } from './exchange.js';
import type { MessageView } from './message-view.js';
import { Ordered } from './ordered.js';

/** Receives the outcome of a DECLARE in the processors. */
export interface DeclareOutcome {
  done(declare: MessageView): void;
  failed(error: unknown): void;
}

/** Takes the messages of a channel through the processors: one at a time in each direction. */
export class ProcessedFlow implements ChannelFlow, UnderWay {
  isKnownToPeer = true;
  isFailing = false;
  /** Messages of the peer in the processors, and their size. */
  count = 0;
  bytes = 0;
  /** A message of this side is in the processors. */
  #isSending = false;
  /** Credit to send after the answer to the peer's DECLARE; `undefined` if credit is sent at once. */
  #heldCredit: number | undefined;
  /** Set if this side closes the channel once its last message has left the processors. */
  #closing: { readonly error: NamedFault | undefined } | undefined;
  /** The error for `onContextExit`. */
  #outcome: Fault | undefined;
  #channel!: FlowChannel;
  readonly #inbound = new Ordered(() => this.#channel.idle());

  constructor(private readonly exchange: Exchange) {}

  get isSending(): boolean {
    return this.#isSending || this.isFailing;
  }

  get isReceiving(): boolean {
    return this.#inbound.isBusy;
  }

  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  get underWay(): UnderWay {
    return this;
  }

  attach(channel: FlowChannel): void {
    this.#channel = channel;
  }

  // --- DECLARE ------------------------------------------------------------------------------------------------

  /** Sends DECLARE, or the answer to it, after the processors. Later messages wait. @throws what they throw */
  open(declare: MessageView, send: (declare: MessageView) => void): void {
    const { isClosed, isDeclaring } = this.#channel;
    if (isClosed) return;
    this.isKnownToPeer = !isDeclaring;
    this.#heldCredit = isDeclaring ? undefined : 0;
    const put = (): void => {
      send(declare);
      this.isKnownToPeer = true;
      const credit = this.#heldCredit;
      this.#heldCredit = undefined;
      if (credit && !this.#channel.peerIsDone) this.grant(credit);
    };
    try {
      // a later failure closes the channel, which its owner sees
      this.#send(declare, put, isDeclaring)?.catch((error: Fault) => this.#endWith(error));
    } catch (error) {
      this.#endWith(error as Fault);
      throw error;
    }
  }

  /** The peer's DECLARE goes through the processors; later messages wait. */
  opened(declare: MessageView, outcome: DeclareOutcome): void {
    this.#inbound.run(() =>
      afterwards(
        () => this.exchange.begin(declare),
        () => outcome.done(declare),
        (error) => outcome.failed(error),
      ),
    );
  }

  declared({ header, body, bytes }: Omit<ChannelMessage, 'cost'>, { outbox }: FlowChannel): void {
    const view = this.exchange.message(LifeCycle.Declare, header, body, bytes);
    this.#receive(view, () => outbox.flush());
  }

  // --- messages -----------------------------------------------------------------------------------------------

  send(body: unknown, header: Header | undefined, outbox: FlowOutbox): void | Promise<void> {
    const view = this.exchange.outgoing(LifeCycle.Msg, header ? headerAsItIs(header) : null, body);
    return this.#send(view, () =>
      outbox.put(view.body, view.isTouched || header ? (view.outcome as Header) : undefined),
    );
  }

  receive(message: ChannelMessage, inbox: FlowInbox): void {
    const { header, body, bytes, cost } = message;
    const view = this.exchange.message(LifeCycle.Msg, header, body, bytes);
    this.#receive(view, () => {
      const isSame = view.body === body && !view.isTouched;
      inbox.deliver(isSame ? message : { header: view.outcome as Header, body: view.body, bytes, cost });
    });
    inbox.pauseIfFull();
  }

  grant(bytes: number): void {
    if (this.#heldCredit !== undefined) this.#heldCredit += bytes;
    else if (this.isKnownToPeer) this.#channel.sendCredit(bytes);
  }

  /** Takes a message of the peer through the processors, then calls `done`, with the error that it carries. */
  #receive(view: MessageView, done: (last: Fault | undefined) => void): void {
    const isMessage = view.lifeCycle === LifeCycle.Msg;
    if (isMessage) this.#count(1, view);
    this.#inbound.run(() =>
      afterwards(
        () => this.exchange.inbound(view),
        () => {
          if (isMessage) this.#count(-1, view);
          if (this.#inbound.isStopped) return;
          const error = this.exchange.faultIn(view);
          if (error) error.fault.header = view.given ?? undefined;
          if (error && view.lifeCycle !== LifeCycle.Drop) this.#failed(error);
          else done(error?.fault);
        },
        (error) => {
          if (isMessage) this.#count(-1, view);
          if (this.#inbound.isStopped) return;
          const named = this.exchange.faultOf(error);
          this.#closeBehind(named, named.fault);
        },
      ),
    );
  }

  #count(sign: 1 | -1, { bytes }: MessageView): void {
    this.count += sign;
    this.bytes += sign * bytes;
  }

  /**
   * Takes a message of this side through the processors, then `put` sends it. `isFirst`: it begins the exchange.
   *
   * @throws (or rejects with) Fault: of a processor, which fails the channel; of `put`, which does not
   */
  #send(view: MessageView, put: () => void, isFirst = false): void | Promise<void> {
    this.#isSending = true;
    const pending = afterwards(
      () => (isFirst ? this.exchange.begin(view) : this.exchange.outbound(view)),
      () => {
        this.#isSending = false;
        if (this.isFailing) return this.#failWithPeer();
        const refusal = this.#channel.refusal();
        if (refusal) throw refusal;
        const error = this.exchange.faultIn(view);
        if (error) throw this.#failed(error);
        return put();
      },
      (error) => {
        this.#isSending = false;
        if (this.isFailing) return this.#failWithPeer();
        throw this.#channel.refusal() ?? this.#failed(this.exchange.faultOf(error));
      },
    );
    return pending?.finally(() => this.#sent());
  }

  /** The peer closed the channel with an error: a message of this side fails with what the processors make of it. */
  #failWithPeer(): Promise<never> {
    return new Promise((_resolve, reject) => {
      this.#channel.whenClosed(() => reject(this.#channel.refusal()));
    });
  }

  /** An asynchronous message was sent, or failed: the next may follow. */
  #sent(): void {
    this.#channel.outbox.flush();
    if (this.#closing && !this.isSending) this.#closeBehind(this.#closing.error);
  }

  /** A message failed in the processors: fails the channel. */
  #failed({ fault, name }: NamedFault): Fault {
    if (this.#channel.isOver) this.#failLate(fault);
    else this.#endWith(fault, name);
    return fault;
  }

  // --- the end ------------------------------------------------------------------------------------------------

  close(fault: Fault | undefined, name: string | undefined, channel: FlowChannel): void {
    if (!this.isKnownToPeer) return channel.endHere(undefined);
    const error = fault && { fault, name: name ?? nameOf(fault) };
    // earlier writes go first
    if (this.#isSending) this.#closing = { error };
    else this.#closeBehind(error);
  }

  /** On a client, processors see the error as the last message. */
  fail(fault: Fault, { header, body, bytes }: Omit<ChannelMessage, 'cost'>, channel: FlowChannel): void {
    if (!this.#isOfClient) return channel.peerGone(fault);
    const view = this.exchange.message(LifeCycle.Drop, header, body, bytes);
    view.fail({ fault, name: nameOf(fault) });
    this.isFailing = true;
    this.isKnownToPeer = false;
    this.#receive(view, (last) => channel.peerGone(last));
  }

  abandon(fault: Fault | undefined): void {
    this.stop();
    this.#outcome = fault;
    this.#channel.failReader(fault);
  }

  ended(fault: Fault | undefined, isReadOn: boolean): void {
    this.#outcome ??= fault;
    if (!isReadOn) this.stop();
  }

  stop(): void {
    this.#inbound.stop();
  }

  over(): void {
    this.exchange.inScope((it) => this.exchange.exit(it), this.#outcome);
  }

  get #isOfClient(): boolean {
    return this.exchange.context.side === 'client';
  }

  /** Closes the channel after the processors have seen the error, if there is one. `own`: the fault for this side. */
  #closeBehind(error: NamedFault | undefined, own?: Fault): void {
    if (this.#channel.isOver) return this.#failLate(own);
    this.#closing = { error };
    const end = (last: NamedFault | undefined): void => {
      if (this.#channel.isOver) return;
      this.#channel.sendDrop(last?.fault, last?.name);
      this.#outcome = last?.fault;
      this.#channel.endHere(own);
    };
    if (error) this.#last(error, end);
    else end(undefined);
  }

  /** A server's processors see the error as the last message; `put` gets the resulting error. */
  #last(error: NamedFault, put: (last: NamedFault | undefined) => void): void {
    if (this.#isOfClient) return put(error);
    const view = this.exchange.message(LifeCycle.Drop, null, undefined);
    view.fail(error);
    this.#isSending = true;
    const leave = (): void => {
      this.#isSending = false;
      put(this.exchange.faultIn(view));
    };
    void afterwards(() => this.exchange.response(view), leave, leave);
  }

  /** Closes the channel, if it is open, with an error for both sides, which the processors have seen. */
  #endWith(fault: Fault, name?: string): void {
    if (this.#channel.isOver) return;
    this.#channel.sendDrop(fault, name);
    this.#channel.endHere(fault);
  }

  /** A message failed after the peer closed the channel: the reader gets the fault instead of the remaining messages. */
  #failLate(fault: Fault | undefined): void {
    if (fault) this.abandon(fault);
  }
}
