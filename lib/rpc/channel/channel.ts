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
 * A duplex channel, as either side. Messages that came before the end can be read after it; writes wait until the peer
 * has room.
 */
export class Channel {
  readonly id: number;
  metadata: unknown;
  /** What a source that cannot be paused may have waiting, in encoded bytes. */
  readonly maxPushedBytes: number;
  readonly #life: ChannelLife;
  /** The peer has said all that it may: what follows is a violation. */
  #isHeard = false;

  constructor(options: ChannelOptions) {
    this.id = options.id;
    this.metadata = options.metadata;
    this.maxPushedBytes = options.maxPushedBytes;
    this.#life = new ChannelLife(options);
  }

  get state(): ChannelState {
    return this.#life.state;
  }

  /** Whether this side has sent a message, or the end of its messages. */
  get wroteAny(): boolean {
    return this.#life.outbox.wroteAny;
  }

  /** Whether the peer ended it: by DROP, by an error, or with its connection. */
  get closedByPeer(): boolean {
    return this.#life.closedByPeer;
  }

  /** Whether the answer to DECLARE has not come. */
  get isDeclaring(): boolean {
    return this.#life.isDeclaring;
  }

  get isClosed(): boolean {
    return this.#life.isClosed;
  }

  /** Whether it is over, or this side has ended it and its last message is still under way. */
  get isEnding(): boolean {
    return this.#life.isEnding;
  }

  /** Why the channel ended, if that was an error. */
  get fault(): Fault | undefined {
    return this.#life.fault;
  }

  /** The time that the caller has set for it. */
  set limit(limit: ChannelLife['limit']) {
    this.#life.limit = limit;
  }

  /** Whether a read would give a message, or wait for one that may come. */
  get readable(): boolean {
    return this.#life.inbox.hasMessage || !this.#life.nothingComes;
  }

  /** Aborted when the channel is over. Made on first use. */
  get signal(): AbortSignal {
    return this.#life.signal;
  }

  /** Calls back once when the channel is over; at once if it is. */
  whenClosed(callback: () => void): void {
    this.#life.whenClosed(callback);
  }

  /** As `whenClosed`, when nothing of the peer is under way any more either: its reader waits for nothing. */
  whenDone(callback: () => void): void {
    this.#life.whenDone(callback);
  }

  /** Its messages go another way from here on. */
  goThrough(flow: ChannelFlow): void {
    this.#life.flow = flow;
    flow.attach(this.#life);
  }

  // --- reading ------------------------------------------------------------------------------------------------

  /** A message that is there already. */
  poll(): ChannelMessage | undefined {
    return this.#life.inbox.poll();
  }

  /** The next message; `undefined` after the last one. Rejects with the fault that ended the channel, if one did. */
  read(reader?: object): Promise<ChannelMessage | undefined> {
    return this.#life.inbox.read(reader);
  }

  /** A reader has left: its reads that wait end as after the last message. */
  leave(reader: object): void {
    this.#life.inbox.leave(reader);
  }

  /** As `read`, for a reader that may lose interest: the function that it returns takes it out of the queue. */
  readInto(reader: WaitingRead): () => void {
    return this.#life.inbox.readInto(reader);
  }

  /** The peer has nothing more to say: a message that is there, or comes, ends the channel with 1008. */
  expectNoMessages(): void {
    this.#isHeard = true;
    if (this.#life.inbox.hasMessage)
      this.violated(new Fault({ status: Status.Channel, message: TOO_MANY_MESSAGES }));
  }

  /** The connection no longer accounts for what was not read. */
  letGo(): void {
    this.#life.inbox.letGo();
  }

  /** What it costs that its reader is behind. */
  get unreadCost(): number {
    return this.isClosed ? 0 : this.#life.inbox.unreadCost;
  }

  // --- writing ------------------------------------------------------------------------------------------------

  /** Sends at once if there is room; false if there is none, and then nothing was sent. Throws as `write`. */
  tryWrite(body: unknown, header?: Header): boolean {
    return this.#life.outbox.tryWrite(body, header);
  }

  /** A body as it is now, for a write that comes later. @throws {@link Fault} if it cannot be encoded */
  hold(body: unknown): unknown {
    return this.#life.hold(body);
  }

  /**
   * Sends a message as soon as the peer has room for it.
   *
   * @throws {@link Fault} 10081 after `end` or `close`, the fault that ended the channel, or that of a body that cannot
   * be encoded; `ERR_RAP_OVERLOAD` if 1024 writes wait already.
   */
  write(body: unknown, header?: Header): Promise<void> {
    return this.#life.outbox.write(body, header);
  }

  /** Says that this side writes no more, after all writes that wait. @throws {@link Fault} if the peer does not know it. */
  end(): Promise<void> {
    return this.#life.outbox.end();
  }

  /** The connection has room again. Returns whether writes still wait for it. */
  flushOne(): boolean {
    return this.#life.outbox.flushOne();
  }

  // --- the end, by this side ----------------------------------------------------------------------------------

  /** Ends the channel both ways; the peer learns of the fault. May be called twice. */
  close(fault?: Fault, name?: string): void {
    if (!this.isEnding) this.#life.flow.close(fault, name, this.#life);
  }

  /** Ends a channel silently that the peer has heard nothing of. False if it has, or is about to. */
  withdraw(): boolean {
    const life = this.#life;
    if (life.isEnding || this.wroteAny || life.isSending) return false;
    life.flow = STRAIGHT; // what is said instead goes its own way
    life.inbox.clear();
    life.finish(undefined, 'drop', true);
    return true;
  }

  /**
   * Ends the channel at once because this side wants no more of it, whatever is still under way: the peer gets DROP, this
   * side the fault.
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

  /** The peer did what it may not: both sides get the fault. */
  violated(fault: Fault): void {
    if (this.isClosed) return;
    this.#life.sendDrop(fault);
    this.#life.finish(fault, 'drop');
  }

  /** Its reader is so far behind that it holds up the connection: what waits is dropped, and both sides get the fault. */
  fallenBehind(fault: Fault): void {
    if (this.isClosed) return;
    this.#life.inbox.clear();
    this.violated(fault);
  }

  // --- frames of the peer, and the end by it ------------------------------------------------------------------

  /** Takes a frame of the peer. Returns what is wrong with it, or `undefined`; a wrong frame changes nothing. */
  receive(
    lifeCycle: unknown,
    header: Header,
    body: unknown,
    bytes: number,
    cost: number,
  ): string | undefined {
    const life = this.#life;
    if (life.flow.isFailing) return undefined; // late frames of an end that is known
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
        this.peerGone(undefined);
        return undefined;
      default:
        return 'unknown life cycle';
    }
  }

  /** The peer has ended the channel, or is gone. What came before can still be read. */
  peerGone(fault: Fault | undefined): void {
    this.#life.peerGone(fault);
  }

  /** The connection is gone, and with it what is under way. */
  lost(fault: Fault): void {
    this.#life.flow.stop();
    this.peerGone(fault);
  }

  /** The peer has ended the channel with an error. */
  peerFailed(fault: Fault, header: Header, body: unknown, bytes: number): void {
    const life = this.#life;
    if (!life.isClosed && !life.flow.isFailing) life.flow.fail(fault, { header, body, bytes }, life);
  }

  #onMessage(header: Header, body: unknown, bytes: number, cost: number): string | undefined {
    if (this.#isHeard) return TOO_MANY_MESSAGES;
    const { inbox, flow } = this.#life;
    if (!inbox.admit(bytes, cost)) return 'more bytes than it had credit for';
    flow.receive({ header, body, bytes, cost }, inbox);
    return undefined;
  }

  #onDeclared(header: Header, body: unknown, bytes: number): undefined {
    this.#life.flow.declared({ header, body, bytes }, this.#life);
  }

  #onEnd(): undefined {
    this.#life.peerEnded();
  }
}
