import type { Clock, Timer } from '../protocol/clock.js';
import { CloseReason, EventTarget, type PeerInfo, PROTOCOL_VERSION } from '../protocol/event.js';
import { agreedExtensions, Extension, OFFERED } from '../protocol/extension.js';
import { Fault, LocalCode } from '../protocol/fault.js';
import { MsgType, type Frame, type Header } from '../protocol/frame.js';
import type { Link, LinkReceiver, RemoteAddress } from '../protocol/link.js';
import { isErrorStatus, Status } from '../protocol/status.js';
import { fromErrorFrame, toErrorFrame } from '../protocol/wire-error.js';
import { CorrelationIds } from './correlation-ids.js';
import type { DeadlineQueue } from './deadline-queue.js';
import { IncomingCall } from './incoming-call.js';
import { KeepAlive, type KeepAliveTarget } from './keep-alive.js';
import type { KeepAliveOptions, RapLimits } from './limits.js';
import { OutgoingCalls } from './outgoing-calls.js';
import type { CallRequest, PendingCall, ReplySink } from './pending-call.js';
import { TokenBucket } from './token-bucket.js';

export type Role = 'client' | 'server';

/**
 * Where a connection stands.
 *
 * - `opening`: DECLARE is not done; the timer ends the wait
 * - `open`: calls come and go
 * - `draining`: the server said shutdown: nothing new is started, what runs is finished
 * - `closed`: over; everything pending has failed with the reason
 */
type State =
  | { readonly name: 'opening'; readonly timer: Timer }
  | { readonly name: 'open' }
  | { readonly name: 'draining'; readonly timer: Timer | undefined; flushed: boolean }
  | { readonly name: 'closed'; readonly reason: Fault };

/** What the owner of a connection is told, and asked. */
export interface PeerOwner {
  /** DECLARE is done. */
  onOpen(peer: Peer): void;
  /** A call came in (servers). Must not throw. */
  onCall(call: IncomingCall): void;
  /** The server drains: start nothing new on this connection (clients). */
  onShutdown(peer: Peer): void;
  /** The connection is over. Called once, after everything pending has failed. */
  onClose(peer: Peer, reason: Fault): void;
}

/** Calls that run on a whole server, over all its connections. */
export interface Load {
  running: number;
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
}

/** What happened on a connection that is no error of a call, for statistics. */
export interface PeerCounters {
  /** Answers to calls that nobody waits for any more, or that were never made. */
  lateAnswers: number;
  /** Calls refused with 429. */
  refusedCalls: number;
}

const USER_AGENT = 'nestjs-rap/0.1';

/** One connection, as either side: frames of a link in, calls out. */
export class Peer implements LinkReceiver, KeepAliveTarget {
  readonly role: Role;
  readonly calls: OutgoingCalls;
  readonly counters: PeerCounters = { lateAnswers: 0, refusedCalls: 0 };
  /** Name of the connection, given by the server. */
  connectionId: string;
  /** What the client said about itself in DECLARE. */
  metadata: Readonly<Record<string, unknown>>;

  readonly clock: Clock;
  readonly deadlines: DeadlineQueue;

  readonly #link: Link;
  readonly #options: PeerOptions;
  readonly #ids: CorrelationIds;
  readonly #incoming = new Map<number, IncomingCall>();
  readonly #pings = new Map<number, PingSink>();
  readonly #keepAlive: KeepAlive;
  readonly #pingAllowance: TokenBucket;
  #extensions: ReadonlyMap<string, unknown> = new Map();
  #state: State;
  #readingPaused = false;
  #callsSeen = 0;

  constructor(link: Link, options: PeerOptions) {
    const { role, clock, deadlines, limits } = options;
    this.role = role;
    this.clock = clock;
    this.deadlines = deadlines;
    this.#link = link;
    this.#options = options;
    this.connectionId = options.connectionId ?? '';
    this.metadata = options.metadata ?? {};
    this.#ids = new CorrelationIds(
      role === 'client' ? 3 : 4,
      (id) => this.calls.isLive(id) || this.#pings.has(id),
    );
    this.calls = new OutgoingCalls(link, this.#ids, deadlines, limits);
    this.#keepAlive = new KeepAlive(this, options.keepAlive, clock);
    this.#pingAllowance = new TokenBucket(clock, limits.pingBurst, limits.pingsPerSecond);
    const openMs = role === 'client' ? limits.openTimeoutMs : limits.declareTimeoutMs;
    this.#state = { name: 'opening', timer: clock.after(openMs, () => this.#openTimeout()) };
  }

  get remote(): RemoteAddress {
    return this.#link.remote;
  }

  get state(): State['name'] {
    return this.#state.name;
  }

  /** Calls of the peer whose handler has not ended. */
  get running(): number {
    return this.#incoming.size;
  }

  /** Whether both sides offered the extension. */
  has(extension: Extension): boolean {
    return this.#extensions.has(extension);
  }

  /** Starts reading; a client says DECLARE. */
  start(): void {
    this.#link.start(this);
    if (this.role !== 'client') return;
    const { metadata } = this;
    this.#sendEvent(this.#ids.next(), EventTarget.Declare, {
      client_info: this.#info(),
      metadata,
      extensions: OFFERED,
    });
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
  emit(request: CallRequest, header: Header): void {
    if (this.has(Extension.OneWay)) {
      this.#link.send(MsgType.Msg, this.#ids.next(), { ...header, one_way: true }, request.body);
    } else this.calls.start(request, IGNORE);
  }

  /** Sends a ping of the application and waits for its answer. */
  measurePing(sink: PingSink): void {
    this.#sendPing(sink);
  }

  // --- frames -------------------------------------------------------------------------------------------------

  onFrame(frame: Frame): void {
    const [type, id, header, body] = frame;
    if (this.#state.name === 'opening') return this.#onOpeningFrame(frame);
    switch (type) {
      case MsgType.Msg: // [101, id, {target}, parameters] and [101, id, {}, result]
        return this.role === 'server' ? this.#onCall(id, header, body) : this.#onAnswer(id, header, body);
      case MsgType.ClientEvent: // [103, id, {target}, body] and [103, id, {}, answer]
        return this.role === 'server' ? this.#onEvent(type, id, header, body) : this.#onPong(id);
      case MsgType.ServerEvent: // [203, id, {target}, body], answered by the same
        return this.role === 'client' ? this.#onEvent(type, id, header, body) : this.#onPong(id);
      case MsgType.Channel: // [102, id, {channel_life_cycle}, body]
        return this.#link.send(
          type,
          id,
          { status_code: Status.Channel },
          'channel not create',
        ) as unknown as void;
    }
  }

  onBytes(): void {
    this.#keepAlive.heard();
  }

  onDrain(): void {
    if (!this.#readingPaused) return;
    this.#readingPaused = false;
    this.#link.resume();
  }

  onFault(fault: Fault): void {
    this.#protocolError(fault.message, fault);
  }

  onClose(error: Error | undefined): void {
    const message = this.role === 'client' ? 'the connection to the server was lost' : 'the client is gone';
    this.abort(connectionLost(error ? `${message}: ${error.message}` : message, error));
  }

  #onOpeningFrame([type, id, header, body]: Frame): void {
    if (this.role === 'server') {
      if (type === MsgType.ClientEvent && header.target === EventTarget.Declare)
        this.#acceptDeclare(id, body);
      else this.#protocolError('the first frame must be DECLARE');
      return;
    }
    if (type === MsgType.ClientEvent) {
      if (isErrorStatus(header.status_code)) this.abort(fromErrorFrame(header, body) as Fault);
      else this.#declareAnswered(body);
    } else if (type === MsgType.ServerEvent) this.#onEvent(type, id, header, body);
    else this.#protocolError('the first frame must answer DECLARE');
  }

  // [103, 3, {target: DECLARE}, {client_info, metadata, extensions}]
  #acceptDeclare(id: number, body: unknown): void {
    const declared = asRecord(body);
    const metadata = asRecord(declared['metadata'] ?? {});
    this.metadata = Object.freeze({ ...metadata });
    this.#extensions = agreedExtensions(declared['extensions']);
    this.#opened();
    const extensions = Object.fromEntries([...this.#extensions.keys()].map((name) => [name, OFFERED[name]]));
    this.#send(MsgType.ClientEvent, id, null, {
      conn_id: this.connectionId,
      server_info: this.#info(),
      ...(this.#extensions.size > 0 ? { extensions } : {}),
    });
    this.#options.owner.onOpen(this);
  }

  // [103, 3, {}, {conn_id, server_info, extensions}]
  #declareAnswered(body: unknown): void {
    const answer = asRecord(body);
    if (typeof answer['conn_id'] === 'string') this.connectionId = answer['conn_id'];
    this.#extensions = agreedExtensions(answer['extensions']);
    this.#opened();
    this.#options.owner.onOpen(this);
  }

  #opened(): void {
    if (this.#state.name === 'opening') this.#state.timer.cancel();
    this.#state = { name: 'open' };
    this.#link.admit();
    const { intervalMs } = this.#options.keepAlive;
    // servers spread their pings, or all that started together would ping together
    this.#keepAlive.start(this.role === 'server' ? intervalMs * (0.9 + Math.random() * 0.2) : intervalMs);
  }

  #onCall(id: number, header: Header, body: unknown): void {
    const { limits, owner, load } = this.#options;
    if (this.#state.name === 'closed') return;
    if (this.#incoming.has(id)) return this.#protocolError(`correlation id ${id} is in use`);
    this.#callsSeen += 1;
    const call = new IncomingCall(
      this,
      id,
      header,
      body,
      header.one_way === true && this.has(Extension.OneWay),
    );
    this.#incoming.set(id, call);
    load.running += 1;
    if (this.#incoming.size > limits.maxInFlight || load.running > limits.maxInFlightTotal) {
      this.counters.refusedCalls += 1;
      call.fail(
        new Fault({ status: Status.TooManyRequests, message: 'Too many calls in flight' }),
        'TooManyRequestsError',
      );
      call.ended();
      return;
    }
    owner.onCall(call);
  }

  #onAnswer(id: number, header: Header, body: unknown): void {
    const call = this.calls.answered(id);
    if (!call) {
      this.counters.lateAnswers += 1;
      return;
    }
    const status = header.status_code;
    if (status !== undefined && isErrorStatus(status)) call.reject(fromErrorFrame(header, body) as Fault);
    else call.resolve(body);
    this.#closeIfDrained();
  }

  #onEvent(type: MsgType, id: number, header: Header, body: unknown): void {
    switch (header.target) {
      case EventTarget.Ping: // {} or "", answered under the same id and type
        if (!this.#pingAllowance.take()) return this.close(CloseReason.TooManyPings);
        this.#send(type, id, this.role === 'client' ? { target: EventTarget.Ping } : null, body);
        return;
      case EventTarget.Drop: // the client says goodbye
        this.#send(type, id, null, 'success');
        return;
      case EventTarget.Close: // reason
        return this.abort(connectionLost(`the server closed the connection: ${reasonOf(body)}`));
      case EventTarget.Shutdown: // {close_timeout: seconds}
        return this.#onShutdown();
      case EventTarget.ServerError: // message
        return;
      case EventTarget.Declare:
        return this.#protocolError('a second DECLARE');
      default:
        if (isErrorStatus(header.status_code)) return;
        if (this.role === 'client') return;
        this.#send(type, id, { status_code: Status.Protocol }, 'unknown event');
    }
  }

  #onPong(id: number): void {
    const sink = this.#pings.get(id);
    if (!sink) return;
    this.#pings.delete(id);
    sink.resolve();
  }

  // --- answers ------------------------------------------------------------------------------------------------

  /** @internal Sends the answer of a call; one that cannot be encoded becomes an error. */
  answer(call: IncomingCall, header: Header | null, body: unknown): void {
    if (call.oneWay) return;
    try {
      this.#send(MsgType.Msg, call.id, header, body);
    } catch (error) {
      this.answerError(call, error as Fault, 'ServerError');
    }
  }

  /** @internal Sends the error of a call. */
  answerError(call: IncomingCall, fault: Fault, name: string): void {
    if (call.oneWay) return;
    const { header, body } = toErrorFrame(fault, name);
    this.#send(MsgType.Msg, call.id, header, body);
  }

  /** @internal The handler of this call has ended. */
  callEnded(call: IncomingCall): void {
    if (this.#incoming.get(call.id) !== call) return;
    this.#incoming.delete(call.id);
    this.#options.load.running -= 1;
    this.#closeIfDrained();
  }

  #send(type: MsgType, id: number, header: Header | null, body: unknown): void {
    this.#link.send(type, id, header, body);
    if (this.role !== 'server') return;
    const { pendingBytes } = this.#link;
    const { sendBufferHardBytes, sendBufferSoftBytes } = this.#options.limits;
    if (pendingBytes <= sendBufferSoftBytes) return;
    if (pendingBytes > sendBufferHardBytes) {
      this.abort(
        connectionLost(`the peer does not read: ${pendingBytes} bytes wait (limits.sendBufferHardBytes)`),
      );
    } else if (!this.#readingPaused) {
      this.#readingPaused = true;
      this.#link.pause();
    }
  }

  #sendEvent(id: number, target: string, body: unknown): void {
    this.#send(this.role === 'client' ? MsgType.ClientEvent : MsgType.ServerEvent, id, { target }, body);
  }

  // --- liveness -----------------------------------------------------------------------------------------------

  ping(): void {
    this.#sendPing(IGNORE_PING);
  }

  lost(): void {
    if (this.role === 'server') this.#farewell(CloseReason.PongTimeout);
    this.abort(connectionLost(`the peer is silent: ${CloseReason.PongTimeout}`));
  }

  isBusy(): boolean {
    const seen = this.#callsSeen;
    this.#callsSeen = 0;
    return seen > 0 || this.#incoming.size > 0 || this.calls.inFlight > 0;
  }

  idle(): void {
    this.close(CloseReason.IdleTimeout);
  }

  #sendPing(sink: PingSink): void {
    if (this.#state.name === 'closed') return sink.reject(this.#state.reason);
    const id = this.#ids.next();
    this.#pings.set(id, sink);
    this.#sendEvent(id, EventTarget.Ping, this.role === 'client' ? {} : '');
  }

  // --- the end ------------------------------------------------------------------------------------------------

  /**
   * A server's orderly end: tells the client to start nothing new, finishes what runs, then closes. What still runs
   * after `graceMs` is aborted.
   */
  drain(graceMs: number): void {
    if (this.#state.name === 'opening') return this.close(CloseReason.Shutdown);
    if (this.#state.name !== 'open') return;
    const timer = this.#options.clock.after(graceMs, () => this.close(CloseReason.Shutdown));
    const draining = { name: 'draining', timer, flushed: false } as const satisfies State;
    const state: State = { ...draining };
    this.#state = state;
    this.#sendEvent(this.#ids.next(), EventTarget.Shutdown, { close_timeout: Math.ceil(graceMs / 1000) });
    // frames keep their order: with the answer to this ping, every call from before the shutdown event is here
    this.#sendPing({
      resolve: () => {
        if (state.name === 'draining') state.flushed = true;
        this.#closeIfDrained();
      },
      reject: () => {},
    });
  }

  #onShutdown(): void {
    if (this.#state.name !== 'open') return;
    this.#state = { name: 'draining', timer: undefined, flushed: true };
    this.#options.owner.onShutdown(this);
    this.#closeIfDrained();
  }

  #closeIfDrained(): void {
    const state = this.#state;
    if (state.name !== 'draining' || !state.flushed) return;
    if (this.#incoming.size === 0 && this.calls.inFlight === 0 && this.calls.queued === 0) {
      this.close(CloseReason.Shutdown);
    }
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
    if (this.role === 'server')
      this.#link.send(MsgType.ServerEvent, this.#ids.next(), { target: EventTarget.Close }, reason);
  }

  #protocolError(message: string, cause?: Fault): void {
    if (this.#state.name === 'closed') return;
    this.#farewell(message);
    this.#fail(cause ?? new Fault({ status: Status.Protocol, message }));
    this.#link.end();
  }

  #openTimeout(): void {
    const message =
      this.role === 'client' ? 'the server did not answer DECLARE in time' : 'no DECLARE in time';
    this.abort(connectionLost(message));
  }

  #fail(reason: Fault): void {
    const before = this.#state;
    this.#state = { name: 'closed', reason };
    if (before.name === 'opening' || before.name === 'draining') before.timer?.cancel();
    this.#keepAlive.stop();
    const unsent =
      reason.code === LocalCode.ConnectionLost ? connectionLost(reason.message, reason.cause, 'no') : reason;
    this.calls.failAll(reason, unsent);
    for (const sink of this.#pings.values()) sink.reject(reason);
    this.#pings.clear();
    for (const call of this.#incoming.values()) call.abort(reason);
    this.#options.owner.onClose(this, reason);
  }

  #info(): PeerInfo {
    const { address, port } = this.#link.local;
    return { host: [address, port], version: PROTOCOL_VERSION, user_agent: USER_AGENT };
  }
}

/** Who waits for the answer to a ping. */
export interface PingSink {
  resolve(): void;
  reject(reason: Fault): void;
}

const IGNORE: ReplySink = { resolve: () => {}, reject: () => {} };
const IGNORE_PING: PingSink = { resolve: () => {}, reject: () => {} };

/** The fault of calls that a lost connection cut off. */
export function connectionLost(message: string, cause?: unknown, sent: 'no' | 'unknown' = 'unknown'): Fault {
  return new Fault({ status: Status.RpcCall, code: LocalCode.ConnectionLost, message, sent, cause });
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}

function reasonOf(body: unknown): string {
  return typeof body === 'string' ? body.slice(0, 256) : 'no reason given';
}
