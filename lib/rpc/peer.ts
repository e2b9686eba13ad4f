import type { Clock, Timer } from '../protocol/clock.js';
import type { EncodedHeader } from '../protocol/encoder.js';
import { CloseReason, EventTarget } from '../protocol/event.js';
import { type AgreedExtensions, Extension, offeredExtensions } from '../protocol/extension.js';
import { Fault, LocalCode } from '../protocol/fault.js';
import { CRYPTO_ERROR } from '../protocol/frame-seal.js';
import { MsgType, type Frame, type Header } from '../protocol/frame.js';
import { LIFE_CYCLE_HEADER, LifeCycle } from '../protocol/life-cycle.js';
import type { Link, LinkReceiver, RemoteAddress } from '../protocol/link.js';
import { isErrorStatus, Status } from '../protocol/status.js';
import { boundedText, fromErrorFrame, toErrorFrame } from '../protocol/wire-error.js';
import type { Channel } from './channel.js';
import { Channels } from './channels.js';
import { CorrelationIds } from './correlation-ids.js';
import type { DeadlineQueue } from './deadline-queue.js';
import type { Incoming } from './incoming.js';
import { IncomingCall } from './incoming-call.js';
import { IncomingChannel } from './incoming-channel.js';
import { IncomingTable, type Load } from './incoming-table.js';
import { KeepAlive, type KeepAliveTarget } from './keep-alive.js';
import type { KeepAliveOptions, RapLimits } from './limits.js';
import { ClientOpening, type Opening, type OpeningHost, ServerOpening } from './opening.js';
import { OutgoingCalls } from './outgoing-calls.js';
import { CallContext } from './message-view.js';
import { PeerConnection } from './peer-connection.js';
import { type CallRequest, type PendingCall, type ReplySink, timeLeftHeader } from './pending-call.js';
import { PendingEvents } from './pending-events.js';
import type { MessageKind, ProcessorContext } from './pipeline.js';
import { afterwards, Exchange, type Processors } from './processors.js';
import { IGNORE_PING, Pings, type PingSink } from './pings.js';
import type { ConnectionSecurity } from './security.js';
import { SendWatch } from './send-watch.js';
import { Sessions } from './sessions.js';
import { TokenBucket } from './token-bucket.js';

export type Role = 'client' | 'server';

/**
 * Where a connection stands.
 *
 * - `opening`: DECLARE is not done; the timer ends the wait
 * - `open`: calls come and go
 * - `draining`: the server said shutdown: nothing new is started, what runs is finished. `flushed` says that all calls
 *   from before are known
 * - `closed`: over; everything pending has failed with the reason
 */
type State =
  | { readonly name: 'opening'; readonly timer: Timer }
  | { readonly name: 'open' }
  | { readonly name: 'draining'; timer: Timer | undefined; until: number; flushed: boolean }
  | { readonly name: 'closed'; readonly reason: Fault };

/** What the owner of a connection is told. */
export interface PeerOwner {
  /** DECLARE is done. */
  onOpen(peer: Peer): void;
  /**
   * A call or channel came in, and processors work on it first: its time begins. False where it has none, and is over.
   */
  onArrival?(incoming: Incoming): boolean;
  /** A call came in (servers). Must not throw. */
  onCall(call: IncomingCall): void;
  /** A channel was opened (servers). Must not throw. */
  onChannel(incoming: IncomingChannel): void;
  /** The server drains: start nothing new on this connection (clients). The calls were not sent, and may go elsewhere. */
  onShutdown(peer: Peer, unsent: PendingCall[]): void;
  /** The connection is over. Called once, after everything pending has failed. */
  onClose(peer: Peer, reason: Fault): void;
}

export interface PeerOptions {
  readonly role: Role;
  readonly owner: PeerOwner;
  readonly limits: RapLimits;
  readonly keepAlive: KeepAliveOptions;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly load: Load;
  /** What a client tells its server, and each handler sees. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Unique name of the connection, which a server tells its client. */
  readonly connectionId?: string;
  /** What works on each message. */
  readonly processors?: Processors | undefined;
  /** Takes part in DECLARE and secures what follows. */
  readonly security?: ConnectionSecurity | undefined;
}

/** One connection, as either side: frames of a link in, calls and channels out. */
export class Peer implements LinkReceiver, KeepAliveTarget, OpeningHost {
  readonly role: Role;
  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;
  readonly calls: OutgoingCalls;
  readonly channels: Channels;
  readonly incoming: IncomingTable;
  readonly sessions: Sessions;
  /** Answers to calls that nobody waits for any more, or that were never made. */
  lateAnswers = 0;
  /** Name of the connection, given by the server. */
  connectionId: string;
  /** What the client said about itself in DECLARE. */
  metadata: Readonly<Record<string, unknown>>;

  readonly #link: Link;
  readonly #options: PeerOptions;
  readonly #ids: CorrelationIds;
  readonly #pings = new Pings();
  readonly #pendingEvents: PendingEvents;
  readonly #keepAlive: KeepAlive;
  readonly #pingAllowance: TokenBucket;
  readonly #rejectAllowance: TokenBucket;
  #agreed: AgreedExtensions = new Map();
  #state: State;
  #connection: PeerConnection | undefined;
  readonly #opening: Opening;
  readonly #sendWatch: SendWatch;

  constructor(plainLink: Link, options: PeerOptions) {
    const { role, clock, deadlines, limits, security } = options;
    this.role = role;
    this.clock = clock;
    this.deadlines = deadlines;
    this.#options = options;
    this.#pendingEvents = new PendingEvents(clock);
    this.connectionId = options.connectionId ?? '';
    this.metadata = options.metadata ?? {};
    this.#opening = new (role === 'client' ? ClientOpening : ServerOpening)({
      host: this,
      link: plainLink,
      offer: offeredExtensions(limits.channelWindowBytes),
      security,
      hooks: { retire: () => void clock.after(0, () => this.retire()) },
    });
    const { link } = this.#opening;
    this.#link = link;
    this.#sendWatch = new SendWatch(link, limits, clock, (pendingBytes) => this.#deaf(pendingBytes));
    this.channels = new Channels(link, limits, {
      send: (id, header, body) => this.#send(MsgType.Channel, id, header, body),
      released: () => this.#closeIfDrained(),
    });
    this.#ids = new CorrelationIds(role === 'client' ? 3 : 4, (id) => this.#isLive(id));
    this.calls = new OutgoingCalls(link, this.#ids, deadlines, limits, (call) => this.#onAbandoned(call));
    if (options.processors) this.calls.openExchange = (kind, target, id) => this.#exchange(kind, target, id);
    this.incoming = new IncomingTable(limits, options.load, clock);
    this.sessions = new Sessions(limits.maxSessions);
    this.#keepAlive = new KeepAlive(this, options.keepAlive, clock);
    this.#pingAllowance = new TokenBucket(clock, limits.pingBurst, limits.pingsPerSecond);
    this.#rejectAllowance = new TokenBucket(clock, limits.maxRejectedFrames, 1);
    const openMs = role === 'client' ? limits.openTimeoutMs : limits.declareTimeoutMs;
    this.#state = { name: 'opening', timer: clock.after(openMs, () => this.#openTimeout()) };
  }

  get remote(): RemoteAddress {
    return this.#link.remote;
  }

  get state(): State['name'] {
    return this.#state.name;
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

  /** Calls the peer. The sink hears of it exactly once. */
  call(request: CallRequest, sink: ReplySink): PendingCall {
    return this.calls.start(request, sink);
  }

  /**
   * Sends an event: a call without an answer where the peer knows such, else a call whose answer is dropped.
   *
   * @throws {@link Fault} where the body cannot be encoded.
   */
  emit(request: CallRequest, header: Header): void | Promise<void> {
    this.calls.assertOpen();
    const id = this.#ids.next();
    if (this.#options.processors) return this.#emitProcessed(request, header, id);
    this.#sendOneWay(request, header, id);
  }

  #sendOneWay(request: CallRequest, header: Header, id: number): void {
    if (this.has(Extension.OneWay)) {
      this.#link.send(MsgType.Msg, id, { ...header, one_way: true }, request.body);
    } else this.calls.start({ ...request, header, encodedHeader: undefined }, IGNORE_REPLY, true);
  }

  #emitProcessed(request: CallRequest, header: Header, id: number): void | Promise<void> {
    const exchange = this.#exchange('event', request.target, id);
    const view = exchange.message(undefined, header, request.body);
    let isOver = false;
    const work = afterwards(
      () => exchange.begin(view),
      () => {
        if (isOver) return;
        try {
          this.calls.assertOpen();
          this.#sendOneWay({ ...request, body: view.body }, view.outcome as Header, id);
        } catch (error) {
          exchange.exit(error);
          throw error;
        }
        exchange.exit();
      },
      (error) => {
        const { fault } = exchange.faultOf(error);
        exchange.exit(fault);
        throw fault;
      },
    );
    const giveUp = (reason: Fault): void => {
      isOver = true;
      exchange.exit(reason);
    };
    return work && this.#pendingEvents.wait(work, request, giveUp);
  }

  /**
   * Opens a channel. It is usable at once: what it cannot send yet waits.
   *
   * @throws {@link Fault} where the header or metadata cannot be encoded.
   */
  openChannel({ target, header, body: metadata, timeoutMs, tellTimeLeft }: CallRequest): Channel {
    this.calls.assertOpen();
    const id = this.#ids.next();
    const timed = tellTimeLeft && this.has(Extension.Deadline) ? timeLeftHeader(header, timeoutMs) : header;
    const declare = (head: Header, body: unknown): number =>
      this.#link.send(MsgType.Channel, id, { ...head, channel_life_cycle: LifeCycle.Declare }, body ?? {});
    if (this.#options.processors) {
      const exchange = this.#exchange('channel', target, id);
      const channel = this.channels.create(id, 'declaring', metadata, exchange);
      channel.open(exchange.message(LifeCycle.Declare, timed, metadata), (view) => {
        this.calls.assertOpen();
        declare(view.outcome as Header, view.body);
      });
      return channel;
    }
    declare(timed, metadata);
    return this.channels.create(id, 'declaring', metadata);
  }

  /** Sends a ping and waits for its answer. */
  measurePing(sink: PingSink): void {
    if (this.#state.name === 'closed') return sink.reject(this.#state.reason);
    const id = this.#ids.next();
    this.#pings.add(id, sink);
    this.#sendEvent(id, EventTarget.Ping, this.role === 'client' ? {} : '');
  }

  /** Tells the server that no call of this session follows. */
  closeSession(sessionId: string): void {
    if (this.#state.name === 'closed' || !this.has(Extension.Session)) return;
    this.#sendEvent(this.#ids.next(), EventTarget.SessionClose, { session_id: sessionId });
  }

  #isLive(id: number): boolean {
    return this.calls.isLive(id) || this.channels.isLive(id) || this.#pings.has(id);
  }

  // --- frames -------------------------------------------------------------------------------------------------

  onFrame(frame: Frame, bytes: number): void {
    const [type, id, header, body] = frame;
    if (this.#state.name === 'opening') return this.#opening.onFrame(frame, bytes);
    if (this.#state.name === 'closed') return;
    switch (type) {
      case MsgType.Msg: // [101, id, {target}, parameters] and [101, id, {}, result]
        return this.role === 'server'
          ? this.#onCall(id, header, body, bytes)
          : this.#onAnswer(id, header, body, bytes);
      case MsgType.Channel: // [102, id, {channel_life_cycle}, body]
        return this.#onChannelFrame(id, header, body, bytes);
      case MsgType.ClientEvent: // [103, id, {target}, body] and [103, id, {}, answer]
        return this.role === 'server' ? this.#onEvent(frame, bytes) : this.#pings.answered(id);
      case MsgType.ServerEvent: // [203, id, {target}, body], answered by the same
        return this.role === 'client' ? this.#onEvent(frame, bytes) : this.#pings.answered(id);
    }
  }

  onBytes(): void {
    this.#keepAlive.heard();
  }

  onDrain(): void {
    this.calls.flush();
    this.channels.flush();
    this.#sendWatch.drained();
  }

  onFault(fault: Fault): void {
    if (fault.status === Status.Crypto) this.cryptoError(fault);
    else this.protocolError(fault.message, fault);
  }

  onClose(error: Error | undefined): void {
    if (this.#state.name === 'closed') return;
    const unproven = this.#opening.unproven();
    if (unproven) return this.abort(unproven);
    const message = this.role === 'client' ? 'the connection to the server was lost' : 'the client is gone';
    this.abort(connectionLost(error ? `${message}: ${error.message}` : message, error));
  }

  // What the opening asks for: see OpeningHost.

  onServerEvent(frame: Frame, bytes: number): void {
    this.#onEvent(frame, bytes);
  }

  announce(): void {
    this.#options.owner.onOpen(this);
  }

  opened(agreed: AgreedExtensions): void {
    if (this.#state.name === 'opening') this.#state.timer.cancel();
    this.#state = { name: 'open' };
    this.#agreed = agreed;
    this.channels.agree(agreed);
    this.calls.peerKnowsDeadlines = agreed.has(Extension.Deadline);
    this.#link.admit();
    const { intervalMs } = this.#options.keepAlive;
    // servers spread their pings, or all that started together would ping together
    this.#keepAlive.start(this.role === 'server' ? intervalMs * (0.9 + Math.random() * 0.2) : intervalMs);
  }

  #onCall(id: number, header: Header, body: unknown, bytes: number): void {
    if (this.incoming.has(id)) return this.protocolError(`correlation id ${id} is in use`);
    const call = new IncomingCall(
      this,
      id,
      header,
      body,
      header.one_way === true && this.has(Extension.OneWay),
    );
    call.bytes = bytes;
    if (!this.incoming.add(call)) this.#refuse(call, 'Too many calls in flight');
    else if (this.#options.processors) this.#process(call);
    else this.#options.owner.onCall(call);
  }

  /** A call goes through the processors first. One without a target is nobody's. */
  #process(call: IncomingCall): void {
    const { owner } = this.#options;
    const { id, header, body, bytes, oneWay } = call;
    if (typeof header.target !== 'string') return owner.onCall(call);
    if (owner.onArrival?.(call) === false) return;
    const exchange = this.#exchange(oneWay ? 'event' : 'call', header.target, id);
    const view = exchange.message(undefined, header, body, bytes);
    call.exchange = exchange;
    void afterwards(
      () => exchange.begin(view),
      () => {
        if (call.settled) return call.ended();
        call.accept(view);
        owner.onCall(call);
      },
      (error) => this.#processingFailed(call, error),
    );
  }

  #processingFailed(incoming: Incoming, error: unknown): void {
    if (!incoming.settled && incoming.exchange) {
      const { fault, name } = incoming.exchange.faultOf(error);
      incoming.fail(fault, name);
    }
    incoming.ended();
  }

  #exchange(kind: MessageKind, target: string, id: number): Exchange {
    return new Exchange(this.#options.processors as Processors, new CallContext(this, kind, target, id));
  }

  #refuse(incoming: Incoming, message: string): void {
    incoming.fail(new Fault({ status: Status.TooManyRequests, message }), 'TooManyRequestsError');
    incoming.ended();
  }

  #onAnswer(id: number, header: Header, body: unknown, bytes: number): void {
    const call = this.calls.get(id);
    if (!call || call.isProcessed) {
      this.lateAnswers += 1;
      return;
    }
    if (call.exchange) {
      call.processAnswer(header, body, bytes, () => this.#closeIfDrained());
      return;
    }
    const status = header.status_code;
    if (status !== undefined && isErrorStatus(status)) {
      const fault = fromErrorFrame(header, body) as Fault;
      if (this.#isOwnTimeout(call, fault)) call.expire();
      else call.reject(fault);
    } else call.resolve(body);
    this.#closeIfDrained();
  }

  /** Both sides keep the time that the caller has set: whichever sees its end first, the caller is told the same. */
  #isOwnTimeout({ request, expiresAt }: PendingCall, { remoteName }: Fault): boolean {
    const isTimeout = request.tellTimeLeft === true && remoteName === 'RpcRunTimeError';
    return isTimeout && expiresAt - this.clock.now() <= SAME_MOMENT_MS;
  }

  #onChannelFrame(id: number, header: Header, body: unknown, bytes: number): void {
    if (
      this.role === 'server' &&
      header.channel_life_cycle === LifeCycle.Declare &&
      !this.channels.isLive(id)
    ) {
      return this.#onDeclareChannel(id, header, body, bytes);
    }
    const call = this.role === 'client' ? this.calls.get(id) : undefined;
    if (call && !call.isProcessed && this.has(Extension.StreamReply)) this.#onStreamReply(call);
    if (this.channels.receive(id, header, body, bytes)) return this.#closeIfDrained();
    if (!this.#rejectAllowance.take()) return this.close(CloseReason.ExcessiveRejects);
    this.#send(MsgType.Channel, id, { status_code: Status.Channel }, 'channel not create');
  }

  // [102, id, {channel_life_cycle: DECLARE, target}, metadata], answered [102, id, {channel_life_cycle: DECLARE}, nil]
  #onDeclareChannel(id: number, header: Header, metadata: unknown, bytes: number): void {
    if (this.incoming.has(id)) return this.protocolError(`correlation id ${id} is in use`);
    const incoming = new IncomingChannel(this, header, this.channels.create(id, 'open', metadata));
    if (!this.incoming.add(incoming)) this.#refuse(incoming, 'Too many channels');
    else if (this.#options.processors) this.#processChannel(incoming, bytes);
    else this.#options.owner.onChannel(incoming);
  }

  /** A channel's DECLARE goes through the processors first; what follows it waits. */
  #processChannel(incoming: IncomingChannel, bytes: number): void {
    const { owner } = this.#options;
    const { id, header, channel } = incoming;
    if (typeof header.target !== 'string') return owner.onChannel(incoming);
    if (owner.onArrival?.(incoming) === false) return;
    const exchange = this.#exchange('channel', header.target, id);
    incoming.exchange = exchange;
    channel.opened(exchange, exchange.message(LifeCycle.Declare, header, channel.metadata, bytes), {
      done: (view) => {
        if (incoming.settled) return incoming.ended();
        incoming.accept(view);
        owner.onChannel(incoming);
      },
      failed: (error) => this.#processingFailed(incoming, error),
    });
  }

  /** The server answers a call with a stream. A caller that wanted one value says so. */
  #onStreamReply(call: PendingCall): void {
    const { id } = call;
    const accepted = call.becomeStream(() => this.channels.create(id, 'open', undefined, call.exchange));
    if (accepted) return;
    this.channels.reject(id);
    this.#link.send(MsgType.Channel, id, LIFE_CYCLE_HEADER.DROP, null);
  }

  #onEvent([type, id, header, body]: Frame, bytes: number): void {
    if (header.target === EventTarget.Ping) {
      // {} or "", answered under the same id and type; a large body is not worth its way back
      if (!this.#pingAllowance.take()) return this.close(CloseReason.TooManyPings);
      const echo = bytes <= MAX_PING_BYTES ? body : {};
      this.#send(type, id, this.role === 'client' ? { target: EventTarget.Ping } : null, echo);
    } else if (this.role === 'client') this.#onServerEvent(header, body);
    else this.#onClientEvent(id, header, body);
  }

  #onServerEvent(header: Header, body: unknown): void {
    switch (header.target) {
      case EventTarget.Close: // reason
        return this.abort(connectionLost(`the server closed the connection: ${reasonOf(body)}`));
      case EventTarget.Shutdown: // {close_timeout: seconds}
        return this.#onShutdown();
      default: // "Server Error" belongs to no call; what is unknown is for others
    }
  }

  #onClientEvent(id: number, header: Header, body: unknown): void {
    switch (header.target) {
      case EventTarget.Cancel: // {id}: no answer, neither to this nor to the call
        return this.#onCancel(body);
      case EventTarget.SessionClose: // {session_id}
        return this.sessions.close((body as { session_id?: unknown } | null)?.session_id);
      case EventTarget.Drop: // the client says goodbye
        this.#send(MsgType.ClientEvent, id, null, 'success');
        return;
      case EventTarget.Declare:
        return this.protocolError('a second DECLARE');
      default:
        if (isErrorStatus(header.status_code)) return;
        if (!this.#rejectAllowance.take()) return this.close(CloseReason.ExcessiveRejects);
        this.#send(MsgType.ClientEvent, id, { status_code: Status.Protocol }, 'unknown event');
    }
  }

  #onCancel(body: unknown): void {
    const id = (body as { id?: unknown } | null)?.id;
    const incoming = typeof id === 'number' ? this.incoming.get(id) : undefined;
    if (!(incoming instanceof IncomingCall)) return;
    incoming.cancelByPeer();
  }

  // --- answers ------------------------------------------------------------------------------------------------

  /** @internal Sends the answer of a call; one that cannot be encoded becomes an error. */
  answer(call: IncomingCall, header: Header | null, body: unknown): void {
    if (call.oneWay) return;
    try {
      this.#link.send(MsgType.Msg, call.id, header, body);
      this.#sendWatch.sent(true);
    } catch (error) {
      this.answerError(call, error as Fault, 'ServerError');
    }
  }

  /** @internal Sends the error of a call. */
  answerError(call: IncomingCall, fault: Fault, name: string, more: Header | null = null): void {
    if (call.oneWay) return;
    const { header, body } = toErrorFrame(fault, name);
    this.#send(MsgType.Msg, call.id, more ? { ...more, ...header } : header, body);
  }

  /** @internal Says that a channel is open. */
  acceptChannel({ id, channel, exchange }: IncomingChannel): void {
    const header: Header = { channel_life_cycle: LifeCycle.Declare };
    if (!exchange) {
      this.#send(MsgType.Channel, id, header, null);
      return;
    }
    try {
      channel.open(exchange.message(LifeCycle.Declare, header, null), (view) =>
        this.#send(MsgType.Channel, id, view.outcome, view.body),
      );
    } catch {
      // the channel has ended with it
    }
  }

  /** @internal Turns a call into a stream under its id, where the peer knows that. */
  turnIntoStream({ id, oneWay, exchange }: IncomingCall): Channel | undefined {
    if (oneWay || !this.has(Extension.StreamReply)) return undefined;
    return this.channels.create(id, 'open', undefined, exchange);
  }

  /** @internal The handler of a call or channel has ended. */
  incomingEnded(incoming: Incoming): void {
    this.incoming.remove(incoming);
    this.#closeIfDrained();
  }

  /** @internal A call or channel is over for the peer. */
  incomingSettled(incoming: Incoming, wasted: boolean): void {
    if (this.#state.name === 'closed' || this.incoming.settled(incoming.startedAt, wasted)) return;
    this.close(CloseReason.ExcessiveResets);
  }

  #send(type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown): number {
    const size = this.#link.send(type, id, header, body);
    if (this.role === 'server') this.#sendWatch.sent();
    return size;
  }

  #deaf(pendingBytes: number): void {
    this.abort(
      connectionLost(`the peer does not read: ${pendingBytes} bytes wait (limits.sendBufferHardBytes)`),
    );
  }

  #sendEvent(id: number, target: string, body: unknown): void {
    this.#send(this.role === 'client' ? MsgType.ClientEvent : MsgType.ServerEvent, id, { target }, body);
  }

  /** A call that this side gave up after it was sent. */
  #onAbandoned({ id }: PendingCall): void {
    if (this.#state.name === 'closed') return;
    if (this.has(Extension.Cancel)) {
      this.channels.reject(id); // the server may be turning it into a stream just now
      this.#sendEvent(this.#ids.next(), EventTarget.Cancel, { id });
    }
    this.#closeIfDrained();
  }

  // --- liveness -----------------------------------------------------------------------------------------------

  ping(): void {
    this.measurePing(IGNORE_PING);
  }

  lost(): void {
    if (this.role === 'server') this.close(CloseReason.PongTimeout);
    else this.abort(connectionLost(`the peer is silent: ${CloseReason.PongTimeout}`));
  }

  isDeaf(): boolean {
    return this.#sendWatch.isPaused || this.channels.isPausing;
  }

  isBusy(): boolean {
    const called = this.calls.wasBusy();
    return this.incoming.wasBusy() || called || this.channels.size > 0;
  }

  idle(): void {
    this.close(CloseReason.IdleTimeout);
  }

  // --- the end ------------------------------------------------------------------------------------------------

  /**
   * A server's orderly end: tells the client to start nothing new, finishes what runs, then closes. What still runs
   * after `graceMs` is aborted.
   */
  drain(graceMs: number): void {
    if (this.#state.name === 'opening') return this.close(CloseReason.Shutdown);
    if (this.#state.name === 'closed') return;
    const until = this.clock.now() + graceMs;
    // one that makes room for another has more time than a server that stops
    if (this.#state.name === 'draining' && this.#state.until <= until) return;
    const timer = this.clock.after(graceMs, () => this.close(CloseReason.Shutdown));
    if (this.#state.name === 'draining') {
      this.#state.timer?.cancel();
      Object.assign(this.#state, { timer, until });
      return;
    }
    const state: Extract<State, { name: 'draining' }> = { name: 'draining', timer, until, flushed: false };
    this.#state = state;
    this.#sendEvent(this.#ids.next(), EventTarget.Shutdown, { close_timeout: Math.ceil(graceMs / 1000) });
    // frames keep their order: with the answer to this ping, every call from before the shutdown event is here
    this.measurePing({
      resolve: () => {
        state.flushed = true;
        this.#closeIfDrained();
      },
      reject: () => {},
    });
  }

  /** A client's orderly end: starts nothing new and closes when what runs is over. */
  finish(): void {
    if (this.#state.name === 'opening') return this.close('the client was closed');
    if (this.#state.name !== 'open') return;
    this.#state = { name: 'draining', timer: undefined, until: Infinity, flushed: true };
    this.calls.refuse(connectionLost('the client ends this connection', undefined, 'no'));
    this.#closeIfDrained();
  }

  /** Ends a connection whose keys are used up, without harm to what runs: another takes its place. */
  retire(): void {
    if (this.role === 'server') this.drain(RETIRE_GRACE_MS);
    else this.#onShutdown('the keys of this connection are used up');
  }

  #onShutdown(why = 'the server shuts down'): void {
    if (this.#state.name !== 'open') return;
    this.#state = { name: 'draining', timer: undefined, until: Infinity, flushed: true };
    const unsent = this.calls.surrender(connectionLost(why, undefined, 'no'));
    this.#options.owner.onShutdown(this, unsent);
    this.#closeIfDrained();
  }

  #closeIfDrained(): void {
    const state = this.#state;
    if (state.name !== 'draining' || !state.flushed) return;
    const { inFlight, queued } = this.calls;
    if (this.incoming.size + this.channels.size + inFlight + queued === 0) this.close(CloseReason.Shutdown);
  }

  /** Closes the connection after what was sent so far: a server says CLOSE and why, then everything pending fails. */
  close(reason: string): void {
    if (this.#state.name === 'closed') return;
    this.#farewell(reason);
    this.#fail(connectionLost(`the connection was closed: ${reason}`));
    this.#link.end();
  }

  /** Ends the connection at once and fails everything pending with the same reason. May be called twice. */
  abort(reason: Fault): void {
    if (this.#state.name === 'closed') return;
    this.#fail(reason);
    this.#link.destroy();
  }

  #farewell(reason: string): void {
    if (this.role !== 'server') return;
    // whatever an application gives for a reason, the connection ends with it
    const text = typeof reason === 'string' ? boundedText(reason, MAX_REASON_BYTES) : '';
    this.#link.send(MsgType.ServerEvent, this.#ids.next(), { target: EventTarget.Close }, text);
  }

  /** Ends the connection because the other side broke the wire's rules. */
  protocolError(message: string, cause?: Fault): void {
    if (this.#state.name === 'closed') return;
    this.#farewell(message);
    this.#fail(cause ?? new Fault({ status: Status.Protocol, message }));
    this.#link.end();
  }

  /** Where the wire is sealed, the other side may be anybody: it gets no word. */
  cryptoError(fault: Fault): void {
    if (this.#state.name === 'closed') return;
    const reason = this.#opening.failed(fault);
    if (this.#opening.isSealed) return this.abort(reason);
    this.#farewell(CRYPTO_ERROR);
    this.#fail(reason);
    this.#link.end();
  }

  #openTimeout(): void {
    const unproven = this.#opening.unproven();
    if (unproven) return this.abort(unproven);
    const message =
      this.role === 'client' ? 'the server did not answer DECLARE in time' : 'no DECLARE in time';
    this.abort(connectionLost(message));
  }

  #fail(reason: Fault): void {
    const before = this.#state;
    this.#state = { name: 'closed', reason };
    if (before.name === 'opening' || before.name === 'draining') before.timer?.cancel();
    this.#keepAlive.stop();
    this.#sendWatch.stop();
    const lost = reason.code === LocalCode.ConnectionLost;
    const unsent = lost ? connectionLost(reason.message, reason.cause, 'no') : reason;
    this.calls.failAll(reason, unsent);
    this.#pendingEvents.failAll(unsent);
    this.channels.failAll(reason);
    this.#pings.failAll(reason);
    this.incoming.abortAll(reason);
    this.sessions.closeAll(reason);
    this.#connection?.gone();
    this.#options.owner.onClose(this, reason);
  }
}

/** What runs on a connection whose keys are used up may take this long: the keys last for as much again. */
const RETIRE_GRACE_MS = 24 * 3_600_000;

/** Two clocks that were started together end a time together, give or take so much. */
const SAME_MOMENT_MS = 10;

/** Longest reason that a client is told. */
const MAX_REASON_BYTES = 1024;

/** Largest ping whose body is sent back. */
const MAX_PING_BYTES = 1024;

const IGNORE_REPLY: ReplySink = { resolve: () => {}, reject: () => {} };

/** The fault of calls that a lost connection cut off. */
export function connectionLost(message: string, cause?: unknown, sent: 'no' | 'unknown' = 'unknown'): Fault {
  return new Fault({ status: Status.RpcCall, code: LocalCode.ConnectionLost, message, sent, cause });
}

function reasonOf(body: unknown): string {
  return typeof body === 'string' ? body.slice(0, 256) : 'no reason given';
}
