import { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { LifeCycle } from '../../protocol/life-cycle.js';
import { Status } from '../../protocol/status.js';
import { type ChannelFlow, STRAIGHT } from './channel-flow.js';
import type { WaitingRead } from './channel-inbox.js';
import { ChannelLife } from './channel-life.js';
import type { ChannelOptions } from './channel-options.js';
import type { ChannelState } from './channel-state.js';
import type { ChannelMessage } from './message-queue.js';

const TOO_MANY_MESSAGES = 'a stream takes no messages after its parameters';

/**
 * A duplex channel, on either side. Messages received before it closed can still be read; writes wait for the peer's
 * credit.
 */
export class Channel {
  readonly id: number;
  metadata: unknown;
  /** Queue limit of a source without backpressure, in encoded bytes. */
  readonly maxPushedBytes: number;
  /** Told of the headers of the peer, by those who read. Not called after the end. */
  onHeader: ((header: Readonly<Record<string, unknown>>) => void) | undefined;
  /** Header of the frame by which the peer has ended it in order. */
  endHeader: Header | undefined;
  readonly #life: ChannelLife;
  /** Further messages of the peer are a violation. */
  #refusesMessages = false;

  constructor(options: ChannelOptions) {
    this.id = options.id;
    this.metadata = options.metadata;
    this.maxPushedBytes = options.maxPushedBytes;
    this.#life = new ChannelLife(options);
  }

  get state(): ChannelState {
    return this.#life.state;
  }

  /** Whether this side has sent a message or END. */
  get wroteAny(): boolean {
    return this.#life.outbox.wroteAny;
  }

  /** Messages that this side has sent. */
  get sentCount(): number {
    return this.#life.outbox.sentCount;
  }

  /** Messages that it has received. */
  get receivedCount(): number {
    return this.#life.inbox.receivedCount;
  }

  /** Whether writes wait for credit of the peer. */
  get needsCredit(): boolean {
    return this.#life.outbox.needsCredit;
  }

  /** Whether the peer closed it: by DROP, by an error, or by disconnecting. */
  get closedByPeer(): boolean {
    return this.#life.closedByPeer;
  }

  /** Whether DECLARE is not answered yet. */
  get isDeclaring(): boolean {
    return this.#life.isDeclaring;
  }

  get isClosed(): boolean {
    return this.#life.isClosed;
  }

  /** Whether it is closed, or will be once this side's last message has passed the flow. */
  get isEnding(): boolean {
    return this.#life.isEnding;
  }

  /** The error that closed the channel, if one did. */
  get fault(): Fault | undefined {
    return this.#life.fault;
  }

  /** The caller's time limit. */
  set limit(limit: ChannelLife['limit']) {
    this.#life.limit = limit;
  }

  /** Whether there is a message, or one may still come. */
  get readable(): boolean {
    return this.#life.inbox.hasMessage || !this.#life.nothingComes;
  }

  /** Aborted when the channel closes. Created on first use. */
  get signal(): AbortSignal {
    return this.#life.signal;
  }

  /** Calls back once when the peer has answered DECLARE, or the channel is closed; at once if that is so. */
  whenDeclared(callback: () => void): void {
    this.#life.whenDeclared(callback);
  }

  /** Calls back once when a message waits to be read, or none can come any more; at once if that is so. */
  whenReadable(callback: () => void): void {
    this.#life.inbox.whenReadable(callback);
  }

  /** Calls back once when the channel is closed; at once if it is. */
  whenClosed(callback: () => void): void {
    this.#life.whenClosed(callback);
  }

  /** As `whenClosed`, but after the last message of the peer has passed the flow. */
  whenDone(callback: () => void): void {
    this.#life.whenDone(callback);
  }

  /** Replaces the flow for later messages. */
  useFlow(flow: ChannelFlow): void {
    this.#life.flow = flow;
    flow.attach(this.#life);
  }

  // --- reading ------------------------------------------------------------------------------------------------

  /** A message that was received already. */
  poll(): ChannelMessage | undefined {
    return this.#life.inbox.poll();
  }

  /** The next message; `undefined` after the last one. Rejects with the fault that ended the channel, if one did. */
  read(reader?: object): Promise<ChannelMessage | undefined> {
    return this.#life.inbox.read(reader);
  }

  /** Ends the waiting reads of a reader as after the last message. */
  leave(reader: object): void {
    this.#life.inbox.leave(reader);
  }

  /** As `read`. Returns a function that cancels the read. */
  readInto(reader: WaitingRead): () => void {
    return this.#life.inbox.readInto(reader);
  }

  /** The peer may send no more messages: an unread or later one closes the channel with 1008. */
  expectNoMessages(): void {
    this.#refusesMessages = true;
    if (this.#life.inbox.hasMessage)
      this.violated(new Fault({ status: Status.Channel, message: TOO_MANY_MESSAGES }));
  }

  /** Stops charging the connection's account for unread messages. */
  uncharge(): void {
    this.#life.inbox.uncharge();
  }

  /** Cost of unread messages while the channel is open. */
  get unreadCost(): number {
    return this.isClosed ? 0 : this.#life.inbox.unreadCost;
  }

  // --- writing ------------------------------------------------------------------------------------------------

  /** Adds to the header of the next message, or of the end. */
  addHeader(header: Header): void {
    this.#life.outbox.addHeader(header);
  }

  /** Sends at once if there is room; else returns false and sends nothing. Throws as `write`. */
  tryWrite(body: unknown, header?: Header): boolean {
    return this.#life.outbox.tryWrite(body, header);
  }

  /** A snapshot of a body, for a later write. @throws {@link Fault} if it cannot be encoded */
  hold(body: unknown): unknown {
    return this.#life.hold(body);
  }

  /**
   * Sends a message as soon as there is credit and room for it.
   *
   * @throws {@link Fault} 10081 after `end` or `close`, the fault that closed the channel, or that of a body that cannot
   * be encoded; `ERR_RAP_OVERLOAD` if 1024 writes wait already.
   */
  write(body: unknown, header?: Header): Promise<void> {
    return this.#life.outbox.write(body, header);
  }

  /** Half-closes the channel after all waiting writes. @throws {@link Fault} if the peer does not support it. */
  end(): Promise<void> {
    return this.#life.outbox.end();
  }

  /** The connection has room: sends one write. Returns whether others wait for room. */
  flushOne(): boolean {
    return this.#life.outbox.flushOne();
  }

  // --- the end, by this side ----------------------------------------------------------------------------------

  /** Closes both directions and sends the fault to the peer. Idempotent. */
  close(fault?: Fault, name?: string): void {
    if (!this.isEnding) this.#life.flow.close(fault, name, this.#life);
  }

  /** Closes a channel without a frame if nothing was sent on it yet; else returns false. */
  withdraw(): boolean {
    const life = this.#life;
    if (life.isEnding || this.wroteAny || life.isSending) return false;
    life.flow = STRAIGHT; // the flow must not end here: the answer sent instead still needs it
    life.inbox.clear();
    life.finish(undefined, 'drop', true);
    return true;
  }

  /**
   * Closes the channel at once and discards what is in the flow: the peer gets DROP, this side the fault.
   */
  cancel(fault?: Fault): void {
    const life = this.#life;
    if (life.isClosed) {
      if (life.flow.isReceiving) life.flow.abandon(fault);
      return;
    }
    life.sendDrop(undefined);
    life.inbox.clear();
    life.finish(fault, 'drop');
  }

  /** The peer violated the protocol: both sides get the fault. */
  violated(fault: Fault): void {
    if (this.isClosed) return;
    this.#life.sendDrop(fault);
    this.#life.finish(fault, 'drop');
  }

  /** Its slow reader paused the connection for too long: unread messages are dropped, and both sides get the fault. */
  failSlowReader(fault: Fault): void {
    if (this.isClosed) return;
    this.#life.inbox.clear();
    this.violated(fault);
  }

  // --- frames of the peer, and the end by it ------------------------------------------------------------------

  /** Handles a frame of the peer. Returns what is wrong with it, or `undefined`; a wrong frame changes nothing. */
  receive(
    lifeCycle: unknown,
    header: Header,
    body: unknown,
    bytes: number,
    cost: number,
  ): string | undefined {
    const life = this.#life;
    if (life.flow.isFailing) return undefined; // frames after the peer's error
    switch (lifeCycle) {
      case LifeCycle.Msg: // [102, id, {channel_life_cycle: MSG}, body]
        return life.step('peerMsg') ?? this.#onMessage(header, body, bytes, cost);
      case LifeCycle.Credit: // [102, id, {channel_life_cycle: CREDIT}, bytes]
        return life.step('peerCredit') ?? life.outbox.grant(body);
      case LifeCycle.Declare: // [102, id, {channel_life_cycle: DECLARE}, nil], the answer
        return life.step('peerDeclare') ?? this.#onDeclared(header, body, bytes);
      case LifeCycle.End: // [102, id, {channel_life_cycle: END}, nil]
        if (!life.halfClose) return 'half-closed channels were not agreed';
        return life.step('peerEnd') ?? this.#onEnd();
      case LifeCycle.Drop: // [102, id, {channel_life_cycle: DROP}, nil or error]
        if (!this.isClosed) this.endHeader = header;
        this.peerGone(undefined);
        return undefined;
      default:
        return 'unknown life cycle';
    }
  }

  /** The peer closed the channel, or disconnected. Messages received before can still be read. */
  peerGone(fault: Fault | undefined): void {
    this.#life.peerGone(fault);
  }

  /** The connection is closed: discards what is in the flow. */
  lost(fault: Fault): void {
    this.#life.flow.stop();
    this.peerGone(fault);
  }

  /** The peer closed the channel with an error. */
  peerFailed(fault: Fault, header: Header, body: unknown, bytes: number): void {
    const life = this.#life;
    if (!life.isClosed && !life.flow.isFailing) life.flow.fail(fault, { header, body, bytes }, life);
  }

  #onMessage(header: Header, body: unknown, bytes: number, cost: number): string | undefined {
    if (this.#refusesMessages) return TOO_MANY_MESSAGES;
    const { inbox, flow } = this.#life;
    if (!inbox.admit(bytes, cost)) return 'more bytes than it had credit for';
    flow.receive({ header, body, bytes, cost }, inbox);
    return undefined;
  }

  #onDeclared(header: Header, body: unknown, bytes: number): undefined {
    this.#life.flow.declared({ header, body, bytes }, this.#life);
    this.#life.declared();
  }

  #onEnd(): undefined {
    this.#life.peerEnded();
  }
}
