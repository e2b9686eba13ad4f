import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import type { Clock } from '../../protocol/clock.js';
import { CloseReason } from '../../protocol/event.js';
import { type AgreedExtensions, Extension } from '../../protocol/extension.js';
import { Fault, LocalCode } from '../../protocol/fault.js';
import { MsgType, type Frame, type Header } from '../../protocol/frame.js';
import { LifeCycle } from '../../protocol/life-cycle.js';
import type { Link, LinkReceiver, RemoteAddress } from '../../protocol/link.js';
import { isErrorStatus, Status } from '../../protocol/status.js';
import { UnreadableBody } from '../../protocol/values/values.js';
import { Account, AccountPause } from '../account.js';
import { ChannelTable } from '../channel/channel-table.js';
import { CorrelationIds } from '../correlation-ids.js';
import type { DeadlineQueue } from '../time/deadline-queue.js';
import { TokenBucket } from '../time/token-bucket.js';
import type { ConnectionHandle, Role } from './connection-info.js';
import { type LifeHost, type LifeState, ConnectionLife } from './connection-life.js';
import { connectionLost } from './connection-lost.js';
import { ControlEvents } from './control-events.js';
import { KeepAlive, type KeepAliveTarget } from './keep-alive.js';
import { type Opening, type OpeningHost, openingOf } from './opening.js';
import { peerLimitsOf } from './peer-limits.js';
import type { PeerOptions, SideOptions } from './peer-options.js';
import { IGNORE_PING, type PingSink } from './pings.js';

/**
 * What both sides of a connection share: link, opening, lifecycle, keep-alive and channel table. It routes frames; calls
 * are handled by the halves, `ClientPeer` and `ServerPeer`.
 */
export abstract class Peer implements LinkReceiver, KeepAliveTarget, OpeningHost, LifeHost, ConnectionHandle {
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly channels: ChannelTable;
  readonly local: RemoteAddress;
  id: string;
  metadata: Readonly<Record<string, unknown>>;

  protected readonly link: Link;
  protected readonly ids: CorrelationIds;
  protected readonly life: ConnectionLife;
  protected readonly account: Account;

  readonly #pingIntervalMs: number;
  readonly #opening: Opening;
  readonly #events: ControlEvents;
  protected readonly keepAlive: KeepAlive;
  readonly #rejectAllowance: TokenBucket;
  readonly #accountPause: AccountPause;
  #agreed: AgreedExtensions = new Map();
  #onClosed: (() => void)[] = [];

  constructor(
    readonly role: Role,
    plainLink: Link,
    options: PeerOptions,
    { id, metadata, load, openMs, pingIntervalMs, firstId, keepsUnread, mos }: SideOptions,
  ) {
    const { clock, deadlines, limits, security } = options;
    const isServer = role === 'server';
    this.clock = clock;
    this.deadlines = deadlines;
    this.id = id;
    this.metadata = metadata;
    this.#pingIntervalMs = pingIntervalMs;
    this.#opening = openingOf(role, { host: this, link: plainLink, limits, security, clock });
    const link = (this.link = this.#opening.link);
    this.local = link.local;
    this.ids = new CorrelationIds(firstId, (it) => this.isLive(it));
    this.account = new Account(limits.maxHeldBytes, load.account);
    this.#accountPause = new AccountPause(this.account, {
      link,
      deadlines,
      timeoutMs: limits.pauseTimeoutMs,
      isOver: () => this.isClosed,
      shed: () => this.channels.endSlowestReader(),
    });
    this.channels = new ChannelTable(link, limits, {
      send: (it, header, body) => this.send(MsgType.Channel, it, header, body),
      released: () => this.life.closeIfDrained(),
      charge: (cost) => this.charge(cost),
      deadlines,
      keepsUnread,
    });
    this.keepAlive = new KeepAlive(this, options.keepAlive, clock);
    this.#rejectAllowance = new TokenBucket(clock, limits.maxRejectedFrames, 1);
    this.life = new ConnectionLife({ isServer, clock, link, opening: this.#opening, openMs, host: this });
    this.#events = new ControlEvents({
      isServer,
      clock,
      limits,
      life: this.life,
      mos,
      host: {
        send: (...frame) => this.send(...frame),
        nextId: () => this.ids.next(),
        onEvent: (it, header, body) => this.onEvent(it, header, body),
      },
    });
  }

  get remote(): RemoteAddress {
    return this.link.remote;
  }

  get state(): LifeState {
    return this.life.state;
  }

  get isClosed(): boolean {
    return this.life.state === 'closed';
  }

  has(extension: Extension): boolean {
    return this.#agreed.has(extension);
  }

  whenClosed(callback: () => void): void {
    if (this.isClosed) callback();
    else this.#onClosed.push(callback);
  }

  /** From here on `onClose` is called; nothing is read before `start`. */
  attach(): void {
    this.link.attach(this);
  }

  /** Starts reading; a client sends DECLARE. */
  start(): void {
    this.link.start(this);
    this.#opening.start(() => this.ids.next());
  }

  /** Sends a ping and waits for its answer. */
  measurePing(sink: PingSink): void {
    this.#events.measurePing(sink);
  }

  // --- implemented by the halves ------------------------------------------------------------------------------

  /** A call, or the answer to one. */
  protected abstract onMessage(id: number, header: Header, body: unknown, bytes: number, cost: number): void;
  /** A channel frame that may open a channel. Returns true if it was handled. */
  protected abstract onFirstFrame(
    id: number,
    header: Header,
    body: unknown,
    bytes: number,
    cost: number,
  ): boolean;
  /** The body of a call, or of the first frame of a channel, cannot be decoded. False if the frame belongs to neither. */
  protected abstract onUnreadable(frame: Frame, fault: Fault): boolean;
  /** Any event of the peer except a ping; at a client, also the answer to its own ping. */
  protected abstract onEvent(id: number, header: Header, body: unknown): void;
  /** Whether calls of either side are in flight or queued. */
  protected abstract hasCalls(): boolean;
  /** Fails everything that this side has started: with `unsent` what the peer has not accepted. */
  protected failStarted(reason: Fault, unsent: Fault, lastTaken?: number): void {
    this.channels.failAll(reason, unsent, lastTaken);
  }
  /** Tells the owner that the connection is closed, after everything pending has failed. */
  protected abstract over(reason: Fault): void;

  /** Whether an id of this side is in use. */
  protected isLive(id: number): boolean {
    return this.channels.isLive(id) || this.#events.pings.has(id);
  }

  // --- frames -------------------------------------------------------------------------------------------------

  onFrame(frame: Frame, bytes: number, cost: number): void {
    const [type, id, header, body] = frame;
    const { state } = this.life;
    if (state === 'closed') return;
    if (body instanceof UnreadableBody) return this.#onUnreadable(frame, body.reason, bytes, cost);
    if (state === 'opening') return this.#opening.onFrame(frame, bytes, cost);
    switch (type) {
      case MsgType.Msg: // [101, id, {target}, parameters] and [101, id, {}, result]
        return this.onMessage(id, header, body, bytes, cost);
      case MsgType.Channel: // [102, id, {channel_life_cycle}, body]
        if (this.onFirstFrame(id, header, body, bytes, cost)) return;
        if (this.channels.receive(id, header, body, bytes, cost)) return this.life.closeIfDrained();
        return this.refuse(MsgType.Channel, id, Status.Channel, 'channel not create');
      case MsgType.ClientEvent: // [103, id, {target}, body] and [103, id, {}, answer]
      case MsgType.ServerEvent: // [203, id, {target}, body], answered by the same
        return this.#events.onFrame(frame, bytes);
    }
  }

  /**
   * An undecodable body fails only the call or channel that it belongs to. Errors, ends, events and frames without a
   * recipient are handled as if the body were empty.
   */
  #onUnreadable(frame: Frame, reason: string, bytes: number, cost: number): void {
    if (this.state === 'opening') return this.protocolError(reason);
    const [type, id, header] = frame;
    const fault = new Fault({ status: Status.Parse, message: `the body cannot be read: ${reason}` });
    const isPart = belongsToCall(type, header);
    if (isPart && this.onUnreadable(frame, fault)) return;
    if (isPart && type === MsgType.Channel && this.channels.isLive(id))
      return this.channels.violated(id, fault);
    this.onFrame([type, id, header, {}], bytes, cost);
  }

  /** Rejects a frame without a recipient. A peer that sends many is disconnected. */
  protected refuse(type: MsgType, id: number, status: number, message: string): void {
    if (this.#rejectAllowance.take()) this.send(type, id, { status_code: status }, message);
    else this.close(CloseReason.ExcessiveRejects);
  }

  protected send(type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown): number {
    return this.link.send(type, id, header, body);
  }

  sendEvent(target: string, body: unknown): void {
    this.#events.send(target, body);
  }

  /** Charges the connection's account, which pauses reading while it is full; a negative cost releases. */
  protected charge(cost: number): void {
    this.#accountPause.charge(cost);
  }

  onBytes(): void {
    this.keepAlive.heard();
  }

  onDrain(): void {
    this.channels.flush();
  }

  onServerEvent(frame: Frame, bytes: number): void {
    this.#events.onFrame(frame, bytes);
  }

  abstract announce(): void;

  opened(agreed: AgreedExtensions): void {
    this.life.opened();
    this.#agreed = agreed;
    this.channels.agree(agreed);
    this.link.admit(peerLimitsOf(agreed).maxFrameBytes, agreed.has(Extension.Values));
    this.keepAlive.start(this.#pingIntervalMs);
  }

  // --- KeepAliveTarget

  ping(sink = IGNORE_PING): void {
    if (!this.isPeerStalled) this.measurePing(sink); // else unsent bytes are enough for the kernel to see that it is gone
  }

  abstract lost(): void;

  /** Whether requests are not read because the peer does not read its answers. */
  protected abstract readonly isPeerStalled: boolean;

  isReadingPaused(): boolean {
    return this.isPeerStalled || this.channels.isPausing || this.#accountPause.isPausing;
  }

  abstract readonly makesCalls: boolean;

  abstract hasCallsInFlight(): boolean;

  hasChannels(): boolean {
    return this.channels.size > 0;
  }

  isBusy(): boolean {
    return this.hasChannels();
  }

  idle(): void {
    this.close(CloseReason.IdleTimeout);
  }

  // --- the end ------------------------------------------------------------------------------------------------

  /** Drains a connection whose keys are used up; another replaces it. */
  retire(): void {
    this.life.retire();
  }

  close(reason: string): void {
    this.life.close(reason);
  }

  /** Destroys the link at once and fails everything pending with the same reason. Idempotent. */
  abort(reason: Fault): void {
    this.life.abort(reason);
  }

  /** The peer violated the protocol. */
  protocolError(message: string): void {
    this.life.protocolError(message);
  }

  cryptoError(fault: Fault): void {
    this.life.cryptoError(fault);
  }

  onFault(fault: Fault): void {
    if (fault.status === Status.Crypto) this.life.cryptoError(fault);
    else this.life.protocolError(fault.message, fault);
  }

  onClose(error: Error | undefined): void {
    this.life.lost(error);
  }

  // --- LifeHost

  isIdle(): boolean {
    return this.channels.size === 0 && !this.hasCalls();
  }

  failAll(reason: Fault, lastTaken?: number): void {
    this.#accountPause.end();
    this.failStarted(reason, unsentBy(reason), lastTaken);
    this.keepAlive.stop();
    this.#events.pings.failAll(reason);
    this.abortIncoming?.(reason);
    for (const callback of this.#onClosed.splice(0)) callback();
    this.over(reason);
  }

  /** Aborts what the peer has started, since nobody waits for the answers. */
  protected abortIncoming?(reason: Fault): void;
}

/** Whether a frame belongs to a call or channel, and does not end it. */
function belongsToCall(type: MsgType, header: Header): boolean {
  const isEnd = isErrorStatus(header.status_code) || header.channel_life_cycle === LifeCycle.Drop;
  return !isEnd && (type === MsgType.Channel || type === MsgType.Msg);
}

/** The fault of what was not sent when the connection was lost. */
function unsentBy(reason: Fault): Fault {
  const isLost = reason.code === LocalCode.ConnectionLost;
  return connectionLost(reason.message, isLost ? reason.cause : reason, 'no');
}
