import type { Clock } from '../../protocol/clock.js';
import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import { closeCodeOf } from '../../protocol/close-code.js';
import { CloseReason, EventTarget } from '../../protocol/event.js';
import { type AgreedExtensions, Extension, offeredExtensions } from '../../protocol/extension.js';
import { Fault, LocalCode } from '../../protocol/fault.js';
import { MsgType, type Frame, type Header } from '../../protocol/frame.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../../protocol/life-cycle.js';
import type { Link, LinkReceiver, RemoteAddress } from '../../protocol/link.js';
import { isErrorStatus, Status } from '../../protocol/status.js';
import { UnreadableBody } from '../../protocol/values/values.js';
import { boundedText } from '../../protocol/wire-error.js';
import { Account, AccountPause } from '../account.js';
import { PROCESS_CONTEXT } from '../context/async-context.js';
import { Calling } from '../client/calling.js';
import type { Channel } from '../channel/channel.js';
import { Channels } from '../channel/channel-table.js';
import { connectionLost } from './connection-lost.js';
import { CorrelationIds } from '../correlation-ids.js';
import type { DeadlineQueue } from '../time/deadline-queue.js';
import type { Incoming } from '../server/incoming.js';
import type { IncomingChannel } from '../server/incoming-channel.js';
import { IncomingTable } from '../server/incoming-table.js';
import { KeepAlive, type KeepAliveTarget } from './keep-alive.js';
import { serverLoad } from '../limits.js';
import { Load } from '../load.js';
import { CallContext } from '../../pipeline/message-view.js';
import { ClientOpening, type Opening, type OpeningHost, ServerOpening } from './opening.js';
import { OutgoingCalls } from '../client/outgoing-calls.js';
import { PeerConnection } from '../../pipeline/connection-view.js';
import type { PeerOptions, Role } from './peer-options.js';
import { PeerEvents } from './control-events.js';
import { type LifeState, PeerLife } from './connection-life.js';
import { peerLimitsOf, toldLimits } from './peer-limits.js';
import type { CallRequest, PendingCall, ReplySink } from '../client/pending-call.js';
import type { MessageKind, ProcessorContext } from '../../pipeline/api.js';
import { eventMode } from '../client/pending-event.js';
import { IGNORE_PING, type PingSink } from './pings.js';
import { Exchange, type Processors } from '../../pipeline/exchange.js';
import { SendWatch } from '../server/slow-reader-guard.js';
import { Serving } from '../server/serving.js';
import { Sessions } from '../server/sessions.js';
import { TokenBucket } from '../time/token-bucket.js';

/** Longest reason that a client is told. */
const MAX_REASON_BYTES = 1024;

/**
 * One connection, as either side: frames of a link in, calls and channels out. It routes; what a frame means is up to
 * its parts: `calling` and `serving` for what this side has started and what the other has, `channels` for what is
 * open, `PeerEvents` for the rest, and `PeerLife` for the end of it all.
 */
export class Peer implements LinkReceiver, KeepAliveTarget, OpeningHost {
  readonly role: Role;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly calls: OutgoingCalls;
  readonly channels: Channels;
  readonly incoming: IncomingTable;
  readonly sessions: Sessions;
  /** @internal What calls that came in do with it. */
  readonly serving: Serving;
  /** Name of the connection, given by the server. */
  connectionId: string;
  /** What the client said about itself in DECLARE. */
  metadata: Readonly<Record<string, unknown>>;
  /** The server was told to drain it: not only this connection makes room for another. */
  isDraining = false;

  readonly #link: Link;
  readonly #options: PeerOptions;
  readonly #ids: CorrelationIds;
  readonly #opening: Opening;
  readonly #life: PeerLife;
  readonly #events: PeerEvents;
  readonly #calling: Calling;
  readonly #keepAlive: KeepAlive;
  readonly #sendWatch: SendWatch;
  readonly #rejectAllowance: TokenBucket;
  readonly #account: Account;
  readonly #accountPause: AccountPause;
  #agreed: AgreedExtensions = new Map();
  #connection: PeerConnection | undefined;

  constructor(plainLink: Link, options: PeerOptions) {
    const { role, clock, deadlines, limits, owner, security, processors } = options;
    const isServer = role === 'server';
    this.role = role;
    this.clock = clock;
    this.deadlines = deadlines;
    this.#options = options;
    this.connectionId = options.connectionId ?? '';
    this.metadata = options.metadata ?? {};
    this.#opening = new (isServer ? ServerOpening : ClientOpening)({
      host: this,
      link: plainLink,
      offer: offeredExtensions(
        limits.channelWindowBytes,
        toldLimits(limits, isServer),
        security?.isJson !== true,
      ),
      security,
      hooks: { retire: () => void clock.after(0, () => this.retire()) },
    });
    const { link } = this.#opening;
    this.#link = link;
    const load = options.load ?? new Load(serverLoad(limits));
    this.#account = new Account(limits.maxHeldBytes, load.account);
    this.#accountPause = new AccountPause(this.#account, {
      link,
      deadlines,
      timeoutMs: limits.pauseTimeoutMs,
      letGo: () => this.channels.endFurthestBehind(),
    });
    const onDeaf = this.#deaf.bind(this);
    this.#sendWatch = new SendWatch(link, limits, onDeaf, this.#account);
    this.#ids = new CorrelationIds(isServer ? 4 : 3, (id) => this.#isLive(id));
    const ended = (): void => this.#life.closeIfDrained();
    const send = this.#send.bind(this);
    const sendEvent = (target: string, body: unknown): void => this.#events.send(target, body);
    const exchange = processors && this.#exchange.bind(this, processors);
    this.channels = new Channels(link, limits, {
      send: (id, header, body) => this.#send(MsgType.Channel, id, header, body),
      released: ended,
      charge: (cost) => this.charge(cost),
      deadlines,
      keepsUnread: isServer,
    });
    this.calls = new OutgoingCalls(link, this.#ids, deadlines, limits, clock, (call) =>
      this.#calling.onAbandoned(call),
    );
    this.calls.openExchange = exchange;
    this.#calling = new Calling({ peer: this, link, ids: this.#ids, exchange, sendEvent, ended });
    this.incoming = new IncomingTable(limits, load, this.#account, clock);
    this.serving = new Serving({
      peer: this,
      owner,
      link,
      sendWatch: this.#sendWatch,
      send,
      exchange,
      ended,
      context: options.context ?? PROCESS_CONTEXT,
    });
    this.sessions = new Sessions(limits.maxSessions);
    this.#keepAlive = new KeepAlive(this, options.keepAlive, clock);
    this.#rejectAllowance = new TokenBucket(clock, limits.maxRejectedFrames, 1);
    const openMs = isServer ? limits.declareTimeoutMs : limits.openTimeoutMs;
    this.#life = new PeerLife({
      isServer,
      clock,
      link,
      opening: this.#opening,
      openMs,
      host: {
        isIdle: () => this.#isIdle(),
        refuseCalls: (reason) => this.calls.refuse(reason),
        surrenderCalls: (reason) => owner.onShutdown(this, this.calls.handOver(reason)),
        sendEvent,
        farewell: (reason, isOrderly) => this.#farewell(reason, isOrderly),
        measurePing: (sink) => this.measurePing(sink),
        failAll: (reason, lastTaken) => this.#failAll(reason, lastTaken),
      },
    });
    this.#events = new PeerEvents({
      isServer,
      clock,
      limits,
      life: this.#life,
      sessions: this.sessions,
      host: {
        send,
        refuse: (...frame) => this.#reject(...frame),
        nextId: () => this.#ids.next(),
        has: (extension) => this.has(extension),
        cancelled: (id) => this.serving.onCancel(id),
        eventsEnded: (count) => this.calls.eventsEnded(count),
      },
    });
  }

  get remote(): RemoteAddress {
    return this.#link.remote;
  }

  get state(): LifeState {
    return this.#life.state;
  }

  /** Answers to calls that nobody waits for any more, or that were never made. */
  get lateAnswers(): number {
    return this.#calling.lateAnswers;
  }

  /** Whether both sides offered the extension. */
  has(extension: Extension): boolean {
    return this.#agreed.has(extension);
  }

  /** The connection, as middleware and processors see it. */
  get connection(): PeerConnection {
    this.#connection ??= new PeerConnection(this);
    return this.#connection;
  }

  /** When the frame came that is worked on now, on its clock. */
  get frameAt(): number {
    return this.#link.frameAt ?? this.clock.now();
  }

  /** What middleware and processors know of a call: the same object for both. */
  contextOf(incoming: Incoming, kind: MessageKind): ProcessorContext {
    const { exchange, id, header } = incoming;
    const context = exchange?.context ?? new CallContext(this, kind, header.target ?? '', id);
    context.incoming = incoming;
    return context;
  }

  /** Learns of the connection's end; nothing is read before `start`. */
  attach(): void {
    this.#link.attach(this);
  }

  /** Starts reading; a client says DECLARE. */
  start(): void {
    this.#link.start(this);
    if (this.role === 'client') this.#opening.start(this.#ids.next());
  }

  // --- what this side starts ----------------------------------------------------------------------------------

  /** Calls the peer. The sink hears of it exactly once. */
  call(request: CallRequest, sink: ReplySink): PendingCall {
    return this.calls.start(request, sink);
  }

  /**
   * Sends an event, or queues it as a call. Resolves when the peer has taken it; when it was sent, if the peer does not
   * tell.
   *
   * @throws {@link Fault} if it was not sent, or was refused.
   */
  emit(request: CallRequest): Promise<void> {
    return this.#calling.emit(request);
  }

  /**
   * Opens a channel. It is usable at once: what it cannot send yet waits.
   *
   * @throws {@link Fault} where the header or metadata cannot be encoded.
   */
  openChannel(request: CallRequest): Channel {
    return this.#calling.openChannel(request);
  }

  /** Sends a ping and waits for its answer. */
  measurePing(sink: PingSink): void {
    this.#events.measurePing(sink);
  }

  /** Tells the server that no call of this session follows: behind those that wait to be sent. */
  closeSession(sessionId: string): void {
    this.calls.afterUnsent(() => {
      if (this.state === 'closed' || !this.has(Extension.Session)) return;
      this.#events.send(EventTarget.SessionClose, { session_id: sessionId });
    });
  }

  #isLive(id: number): boolean {
    return this.calls.isLive(id) || this.channels.isLive(id) || this.#events.pings.has(id);
  }

  // --- frames -------------------------------------------------------------------------------------------------

  onFrame(frame: Frame, bytes: number, cost: number): void {
    const [type, id, header, body] = frame;
    const { state } = this.#life;
    if (state === 'closed') return;
    if (body instanceof UnreadableBody) return this.#onUnreadable(frame, body.reason, bytes, cost);
    if (state === 'opening') return this.#opening.onFrame(frame, bytes, cost);
    switch (type) {
      case MsgType.Msg: // [101, id, {target}, parameters] and [101, id, {}, result]
        return this.role === 'server'
          ? this.serving.onCall(id, header, body, bytes, cost)
          : this.#calling.onAnswer(id, header, body, bytes, cost);
      case MsgType.Channel: // [102, id, {channel_life_cycle}, body]
        return this.#onChannelFrame(id, header, body, bytes, cost);
      case MsgType.ClientEvent: // [103, id, {target}, body] and [103, id, {}, answer]
        return this.role === 'server' ? this.#events.onEvent(frame, bytes) : this.#events.pings.answered(id);
      case MsgType.ServerEvent: // [203, id, {target}, body], answered by the same
        return this.role === 'client' ? this.#events.onEvent(frame, bytes) : this.#events.pings.answered(id);
    }
  }

  #onChannelFrame(id: number, header: Header, body: unknown, bytes: number, cost: number): void {
    if (this.role === 'client') {
      if (this.#calling.onStreamReply(id, header, body, bytes, cost)) return;
    } else if (this.#isDeclare(id, header)) return this.serving.onDeclare(id, header, body, bytes, cost);
    if (this.channels.receive(id, header, body, bytes, cost)) return this.#life.closeIfDrained();
    this.#reject(MsgType.Channel, id, Status.Channel, 'channel not create');
  }

  /** One that carries an error starts nothing. */
  #isDeclare(id: number, { channel_life_cycle: lifeCycle, status_code: status }: Header): boolean {
    return lifeCycle === LifeCycle.Declare && !isErrorStatus(status) && !this.channels.isLive(id);
  }

  /**
   * A body of which no value can be made fails what it belongs to, and nothing else. Errors, ends and events, and frames
   * for nobody, are what they are without it.
   */
  #onUnreadable(frame: Frame, reason: string, bytes: number, cost: number): void {
    if (this.state === 'opening') return this.protocolError(reason);
    const [type, id, header] = frame;
    const fault = new Fault({ status: Status.Parse, message: `the body cannot be read: ${reason}` });
    const isEnd = isErrorStatus(header.status_code) || header.channel_life_cycle === LifeCycle.Drop;
    const isChannel = type === MsgType.Channel;
    const isPart = !isEnd && (isChannel || type === MsgType.Msg);
    const isServer = this.role === 'server';
    const call = isPart && !isServer ? this.calls.get(id) : undefined;
    if (isPart && isServer && (!isChannel || this.#isDeclare(id, header)))
      this.serving.onUnreadable(frame, fault);
    else if (isPart && isChannel && this.channels.isLive(id)) this.channels.violated(id, fault);
    else if (call) {
      call.reject(fault);
      if (isChannel) this.channels.reject(id);
      if (isChannel) this.#send(type, id, LIFE_CYCLE_HEADER.DROP, null);
      this.#life.closeIfDrained();
    } else this.onFrame([type, id, header, {}], bytes, cost);
  }

  /** Refuses a frame that is nobody's. A peer that sends many is left. */
  #reject(type: MsgType, id: number, status: number, message: string): void {
    if (this.#rejectAllowance.take()) this.#send(type, id, { status_code: status }, message);
    else this.close(CloseReason.ExcessiveRejects);
  }

  #send(type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown): number {
    const size = this.#link.send(type, id, header, body);
    if (this.role === 'server') this.#sendWatch.sent(size);
    return size;
  }

  #exchange(processors: Processors, kind: MessageKind, target: string, id: number): Exchange {
    return new Exchange(processors, new CallContext(this, kind, target, id), this.#options.limits);
  }

  /** @internal Tells the other side something beside calls. */
  sendEvent(target: string, body: unknown): void {
    this.#events.send(target, body);
  }

  /** @internal What is kept of the other side costs so much more, or less. Nothing is read while that is too much. */
  charge(cost: number): void {
    this.#account.add(cost);
    if (cost < 0) this.#accountPause.progress();
    else if (this.state !== 'closed') this.#accountPause.check();
  }

  /** @internal Says that a channel is open. */
  acceptChannel(incoming: IncomingChannel): void {
    this.serving.accept(incoming);
  }

  onBytes(): void {
    this.#keepAlive.heard();
  }

  onDrain(): void {
    this.calls.flush();
    this.channels.flush();
    this.#sendWatch.drained(this.serving.onDrain());
  }

  // What the opening asks for: see OpeningHost.

  onServerEvent(frame: Frame, bytes: number): void {
    this.#events.onEvent(frame, bytes);
  }

  announce(): void {
    this.#options.owner.onOpen(this);
  }

  opened(agreed: AgreedExtensions): void {
    this.#life.opened();
    this.#agreed = agreed;
    const { maxInFlight, maxFrameBytes } = peerLimitsOf(agreed);
    this.channels.agree(agreed);
    this.calls.agree(maxInFlight, agreed.has(Extension.Deadline));
    this.calls.events = eventMode(agreed);
    this.#link.admit(maxFrameBytes, agreed.has(Extension.Values));
    const { intervalMs } = this.#options.keepAlive;
    // servers spread their pings, or all that started together would ping together
    this.#keepAlive.start(this.role === 'server' ? intervalMs * (0.9 + Math.random() * 0.2) : intervalMs);
  }

  // What the keep-alive asks for: see KeepAliveTarget.

  ping(): void {
    // the kernel has more than a ping to find out with
    if (!this.#sendWatch.isPaused) this.measurePing(IGNORE_PING);
  }

  lost(): void {
    if (this.role === 'server') this.close(CloseReason.PongTimeout);
    else this.abort(connectionLost(`the peer is silent: ${CloseReason.PongTimeout}`));
  }

  isDeaf(): boolean {
    return this.#sendWatch.isPaused || this.channels.isPausing || this.#accountPause.isPausing;
  }

  get mayWait(): boolean {
    return this.role === 'client';
  }

  isWaiting(): boolean {
    return this.calls.inFlight > 0;
  }

  isBusy(): boolean {
    const called = this.calls.wasBusy();
    return this.incoming.wasBusy() || called || this.channels.size > 0;
  }

  idle(): void {
    this.close(CloseReason.IdleTimeout);
  }

  // --- the end ------------------------------------------------------------------------------------------------

  /** A server's orderly end: the client starts nothing new, and what still runs after `graceMs` is aborted. */
  drain(graceMs: number): void {
    this.isDraining = true;
    this.#life.drain(graceMs);
    this.incoming.drainAll();
  }

  /** A client's orderly end: starts nothing new and closes when what runs is over. */
  finish(): void {
    this.#life.finish();
  }

  /** Ends a connection whose keys are used up, without harm to what runs: another takes its place. */
  retire(): void {
    this.#life.retire();
  }

  /** Closes the connection after what was sent so far: a server says CLOSE and why, then everything pending fails. */
  close(reason: string): void {
    // the answers of events that are still on their way must not meet a socket that is gone
    this.#life.close(reason, this.calls.closing());
  }

  /** Ends the connection at once and fails everything pending with the same reason. May be called twice. */
  abort(reason: Fault): void {
    this.#life.abort(reason);
  }

  /** Ends the connection because the other side broke the wire's rules. */
  protocolError(message: string): void {
    this.#life.protocolError(message);
  }

  cryptoError(fault: Fault): void {
    this.#life.cryptoError(fault);
  }

  onFault(fault: Fault): void {
    if (fault.status === Status.Crypto) this.#life.cryptoError(fault);
    else this.#life.protocolError(fault.message, fault);
  }

  onClose(error: Error | undefined): void {
    this.#life.lost(error);
  }

  #deaf(pendingBytes: number): void {
    this.abort(
      connectionLost(`the peer does not read: ${pendingBytes} bytes wait (limits.sendBufferHardBytes)`),
    );
  }

  #farewell(reason: string, isOrderly: boolean): void {
    // whatever an application gives for a reason, the connection ends with it
    const text = typeof reason === 'string' ? boundedText(reason, MAX_REASON_BYTES) : '';
    const target = EventTarget.Close;
    // what comes after an end in order may be repeated elsewhere; after a fault, it may be the fault
    const last = isOrderly ? { last_id: this.incoming.lastId } : {};
    const header = this.has(Extension.Close)
      ? { target, close_code: closeCodeOf(text), ...last }
      : { target };
    this.#link.send(MsgType.ServerEvent, this.#ids.next(), header, text);
  }

  #isIdle(): boolean {
    const { inFlight, queued } = this.calls;
    return this.incoming.size + this.channels.size + inFlight + queued === 0;
  }

  #failAll(reason: Fault, lastTaken?: number): void {
    this.#keepAlive.stop();
    this.#sendWatch.stop();
    this.serving.stop();
    this.#accountPause.end();
    const lost = reason.code === LocalCode.ConnectionLost;
    const unsent = connectionLost(reason.message, lost ? reason.cause : reason, 'no');
    this.calls.failAll(reason, unsent, lastTaken);
    this.#calling.failAll(unsent);
    this.channels.failAll(reason, unsent, lastTaken);
    this.#events.pings.failAll(reason);
    this.incoming.abortAll(reason);
    this.sessions.closeAll(reason);
    this.#connection?.gone();
    this.#options.owner.onClose(this, reason);
  }
}
