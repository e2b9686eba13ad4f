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

/** What becomes of a DECLARE in the processors. */
export interface DeclareOutcome {
  done(declare: MessageView): void;
  failed(error: unknown): void;
}

/** The messages of a channel on their way through the processors: one after the other, in each direction. */
export class ProcessedFlow implements ChannelFlow, UnderWay {
  isKnownToPeer = true;
  isFailing = false;
  /** Messages of the peer that are under way, and their size. */
  count = 0;
  bytes = 0;
  /** A message of this side is with the processors. */
  #isSending = false;
  /** Room for the peer, which gets it behind the answer to its DECLARE; `undefined` if that need not be waited for. */
  #heldCredit: number | undefined;
  /** This side ends the channel as soon as its last message has left the processors. */
  #closing: { readonly error: NamedFault | undefined } | undefined;
  /** What the processors are told that it ended with. */
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

  /** Sends DECLARE, or the answer to it, once the processors have seen it. What follows waits. @throws what they throw */
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
      // one that fails later ends the channel, which its owner sees
      this.#send(declare, put, isDeclaring)?.catch((error: Fault) => this.#endWith(error));
    } catch (error) {
      this.#endWith(error as Fault);
      throw error;
    }
  }

  /** The peer's DECLARE goes through the processors; what follows it waits. */
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

  /** A message of the peer, and then its place in the channel; `last` is the error that it carries. */
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
   * A message of this side, then `put` sends it. `isFirst`: the processors have not heard of the channel.
   *
   * @throws (or rejects with) Fault: of a processor, and then the channel has failed; of `put`, which harms nothing
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

  /** The peer has ended the channel with an error: a message of this side fails with what the processors make of that. */
  #failWithPeer(): Promise<never> {
    return new Promise((_resolve, reject) => {
      this.#channel.whenClosed(() => reject(this.#channel.refusal()));
    });
  }

  /** A message that took its time has left, or failed: the next may come. */
  #sent(): void {
    this.#channel.outbox.flush();
    if (this.#closing && !this.isSending) this.#closeBehind(this.#closing.error);
  }

  /** A message failed, which the processors have seen, and with it the channel. */
  #failed({ fault, name }: NamedFault): Fault {
    if (this.#channel.isOver) this.#failLate(fault);
    else this.#endWith(fault, name);
    return fault;
  }

  // --- the end ------------------------------------------------------------------------------------------------

  close(fault: Fault | undefined, name: string | undefined, channel: FlowChannel): void {
    if (!this.isKnownToPeer) return channel.endHere(undefined);
    const error = fault && { fault, name: name ?? nameOf(fault) };
    // what was written before goes first
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

  /** Ends the channel once the processors have seen the error that ends it, if one does. `own`: what this side gets. */
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

  /** The error that ends the channel. A server's processors see it as its last message; `put` sends what it has become. */
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

  /** Ends the channel with an error that both sides get, and the processors have seen. One that is over stays as it is. */
  #endWith(fault: Fault, name?: string): void {
    if (this.#channel.isOver) return;
    this.#channel.sendDrop(fault, name);
    this.#channel.endHere(fault);
  }

  /** A message failed that came before the peer's end: the reader gets the fault instead of the rest. */
  #failLate(fault: Fault | undefined): void {
    if (fault) this.abandon(fault);
  }
}
