import type { Fault } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import { LifeCycle } from '../protocol/life-cycle.js';
import type { NamedFault } from '../protocol/wire-error.js';
import type { MessageView } from './message-view.js';
import { Ordered } from './ordered.js';
import { afterwards } from './afterwards.js';
import type { Exchange } from './exchange.js';

/** What the processing of a channel's messages tells the channel. */
export interface ChannelProcessingOwner {
  /** Nothing of the peer is under way any more. */
  onIdle(): void;
  /** A message that took its time has left, or failed: the next may come. */
  onSent(): void;
  /** A message failed, and with it the channel. `isSeen`: the processors know of it. Returns what the writer gets. */
  failed(error: NamedFault, isSeen: boolean): Fault;
  /** Why nothing can be sent any more, where that is so. */
  refusal(): Fault | undefined;
}

/** What becomes of a DECLARE in the processors. */
export interface DeclareOutcome {
  done(declare: MessageView): void;
  failed(error: unknown): void;
}

/** The messages of a channel on their way through the processors: one after the other, in each direction. */
export class ChannelProcessing {
  /** A message of this side is under way; the others wait. */
  isSending = false;
  /** Messages of the peer that are under way, and their size. */
  count = 0;
  bytes = 0;
  readonly #inbound: Ordered;

  constructor(
    readonly exchange: Exchange,
    private readonly owner: ChannelProcessingOwner,
  ) {
    this.#inbound = new Ordered(() => owner.onIdle());
  }

  get isOfClient(): boolean {
    return this.exchange.context.side === 'client';
  }

  /** Something of the peer is under way. */
  get isReceiving(): boolean {
    return this.#inbound.isBusy;
  }

  /** The channel is over. */
  exit(fault: Fault | undefined): void {
    this.exchange.inScope((it) => this.exchange.exit(it), fault);
  }

  /** A message of this side. @throws Fault where its body cannot be read */
  outgoing(lifeCycle: string, header: Header | null, body: unknown): MessageView {
    return this.exchange.outgoing(lifeCycle, header, body);
  }

  message(lifeCycle: string, header: Header | null, body: unknown, bytes = 0): MessageView {
    return this.exchange.message(lifeCycle, header, body, bytes);
  }

  /** Nobody reads any more. */
  stop(): void {
    this.#inbound.stop();
  }

  /** The peer's DECLARE; what follows waits for it. */
  declared(declare: MessageView, then: DeclareOutcome): void {
    this.#inbound.run(() =>
      afterwards(
        () => this.exchange.begin(declare),
        () => then.done(declare),
        (error) => then.failed(error),
      ),
    );
  }

  /** A message of the peer, and then where it belongs; `last` is the error that it carries. */
  receive(view: MessageView, done: (last: Fault | undefined) => void): void {
    const isMessage = view.lifeCycle === LifeCycle.Msg;
    if (isMessage) this.#count(1, view);
    this.#inbound.run(() =>
      afterwards(
        () => this.exchange.inbound(view),
        () => {
          if (isMessage) this.#count(-1, view);
          if (this.#inbound.isStopped) return;
          const error = this.exchange.faultIn(view);
          if (error && view.lifeCycle !== LifeCycle.Drop) this.owner.failed(error, true);
          else done(error?.fault);
        },
        (error) => {
          if (isMessage) this.#count(-1, view);
          if (!this.#inbound.isStopped) this.owner.failed(this.exchange.faultOf(error), false);
        },
      ),
    );
  }

  /**
   * A message of this side, then `put` sends it. `isFirst`: the processors have not heard of the channel.
   *
   * @throws (or rejects with) Fault: of a processor, and then the channel has failed; of `put`, which harms nothing
   */
  send(view: MessageView, put: () => void, isFirst = false): void | Promise<void> {
    this.isSending = true;
    const pending = afterwards(
      () => (isFirst ? this.exchange.begin(view) : this.exchange.outbound(view)),
      () => {
        this.isSending = false;
        const refusal = this.owner.refusal();
        if (refusal) throw refusal;
        const error = this.exchange.faultIn(view);
        if (error) throw this.owner.failed(error, true);
        put();
      },
      (error) => {
        this.isSending = false;
        throw this.owner.refusal() ?? this.owner.failed(this.exchange.faultOf(error), true);
      },
    );
    return pending?.finally(() => this.owner.onSent());
  }

  /** The error that ends the channel. A server's processors see it as its last message; `put` sends what it has become. */
  last(error: NamedFault, put: (last: NamedFault | undefined) => void): void {
    if (this.isOfClient) return put(error);
    const view = this.exchange.message(LifeCycle.Drop, null, undefined);
    view.fail(error);
    this.isSending = true;
    const leave = (): void => {
      this.isSending = false;
      put(this.exchange.faultIn(view));
    };
    void afterwards(() => this.exchange.response(view), leave, leave);
  }

  #count(sign: 1 | -1, { bytes }: MessageView): void {
    this.count += sign;
    this.bytes += sign * bytes;
  }
}
