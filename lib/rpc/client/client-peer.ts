import { clientConnection, tellConnection } from '../../diagnostics/channels.js';
import { CloseReason, EventTarget } from '../../protocol/event.js';
import { type AgreedExtensions, Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import { type Frame, type Header, MAX_ID } from '../../protocol/frame.js';
import type { Link } from '../../protocol/link.js';
import type { Channel } from '../channel/channel.js';
import { connectionLost } from '../connection/connection-lost.js';
import { type LoadReport, LoadReports } from '../connection/load-report.js';
import { Peer } from '../connection/peer.js';
import { peerLimitsOf } from '../connection/peer-limits.js';
import type { PeerOptions } from '../connection/peer-options.js';
import { serverLoad } from '../limits.js';
import { Load } from '../load.js';
import type { CallRequest, ReplySink } from './call-request.js';
import { type Calling, type CallingPath, PLAIN_CALLING } from './calling.js';
import { eventMode } from './event-mode.js';
import { OutgoingCalls } from './outgoing-calls.js';
import type { PendingCall } from './pending-call.js';

const NOT_PROVEN = 'the server did not answer a ping after this process had stood still';

/** The owner of a client's connection. */
export interface ClientOwner {
  /** DECLARE is done. */
  onOpen(peer: ClientPeer): void;
  /** The server drains: start nothing new on this connection. The unsent calls may move to another. */
  onShutdown(peer: ClientPeer, unsent: PendingCall[]): void;
  /** The connection is closed. Called once, after everything pending has failed. */
  onClose(peer: ClientPeer, reason: Fault): void;
  /**
   * A ping is not answered as fast as it should be, or must be answered before calls are sent: prefer another server. False: it
   * is heard again.
   */
  onSuspect?(peer: ClientPeer, isSuspect: boolean): void;
  /** The server has reported its load. */
  onLoad?(peer: ClientPeer, report: LoadReport): void;
}

export interface ClientPeerOptions extends PeerOptions {
  readonly owner: ClientOwner;
  /** The server in messages. */
  readonly where?: string | undefined;
  /** Sent to the server, visible to its handlers. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Default: without processors. */
  readonly calling?: CallingPath | undefined;
}

/** The client's half of a connection: calls, events and channels out, their answers in. */
export class ClientPeer extends Peer {
  readonly calls: OutgoingCalls;
  /** The server in messages. */
  readonly where: string | undefined;
  readonly #owner: ClientOwner;
  readonly #calling: Calling;
  #isAnnounced = false;
  /** The server said that it shuts down, or ended an idle connection: nothing is wrong with it. */
  endsInOrder = false;
  readonly #loads: LoadReports;

  constructor(plainLink: Link, options: ClientPeerOptions) {
    const { limits, clock, deadlines, metadata, calling = PLAIN_CALLING } = options;
    super('client', plainLink, options, {
      id: '',
      metadata,
      load: new Load(serverLoad(limits)),
      openMs: limits.openTimeoutMs,
      pingIntervalMs: options.keepAlive.intervalMs,
      firstId: 3,
      keepsUnread: false,
    });
    const { link, ids, channels, keepAlive } = this;
    this.#owner = options.owner;
    this.where = options.where;
    this.#loads = new LoadReports(clock, (report) => this.#owner.onLoad?.(this, report));
    this.calls = new OutgoingCalls({
      connection: this,
      link,
      ids,
      deadlines,
      limits,
      clock,
      keepAlive,
      onAbandoned: (call) => this.#calling.onAbandoned(call),
    });
    this.#calling = calling.open({
      connection: this,
      link,
      ids,
      clock,
      limits,
      calls: this.calls,
      channels,
      sendEvent: (target, body) => this.sendEvent(target, body),
      charge: (cost) => this.charge(cost),
      ended: () => this.life.closeIfDrained(),
    });
  }

  /** Answers to calls that have settled, or were never made. */
  get lateAnswers(): number {
    return this.#calling.lateAnswers;
  }

  override announce(): void {
    this.#isAnnounced = true;
    tellConnection(clientConnection, this);
    this.#owner.onOpen(this);
  }

  override opened(agreed: AgreedExtensions): void {
    super.opened(agreed);
    const { maxInFlight } = peerLimitsOf(agreed);
    this.calls.agree(maxInFlight, agreed.has(Extension.Deadline), eventMode(agreed));
  }

  // --- calls out ----------------------------------------------------------------------------------------------

  /** Calls the peer. The sink is called exactly once. */
  call(request: CallRequest, sink: ReplySink): PendingCall {
    return this.#calling.call(request, sink);
  }

  /**
   * Sends or queues an event. Resolves when the peer has accepted it; when it was sent, if the peer does not confirm.
   *
   * @throws {@link Fault} if it was not sent, or was refused.
   */
  emit(request: CallRequest): Promise<void> {
    return this.#calling.emit(request);
  }

  /**
   * Opens a channel. It is usable at once: writes wait until they can be sent.
   *
   * @throws {@link Fault} if the header or metadata cannot be encoded.
   */
  openChannel(request: CallRequest): Channel {
    this.keepAlive.used(this.clock.now());
    return this.#calling.openChannel(request);
  }

  /** Tells the server that the session has ended, after its queued calls were sent. */
  closeSession(sessionId: string): void {
    this.calls.afterUnsent(() => {
      if (this.isClosed || !this.has(Extension.Session)) return;
      this.sendEvent(EventTarget.SessionClose, { session_id: sessionId });
    });
  }

  protected override isLive(id: number): boolean {
    return this.calls.isLive(id) || super.isLive(id);
  }

  // --- frames -------------------------------------------------------------------------------------------------

  protected override onMessage(id: number, header: Header, body: unknown, bytes: number, cost: number): void {
    this.#calling.onAnswer(id, header, body, bytes, cost);
  }

  protected override onFirstFrame(
    id: number,
    header: Header,
    body: unknown,
    bytes: number,
    cost: number,
  ): boolean {
    return this.#calling.onStreamReply(id, header, body, bytes, cost);
  }

  protected override onUnreadable([type, id]: Frame, fault: Fault): boolean {
    return this.#calling.onUnreadable(type, id, fault);
  }

  protected override onEvent(_id: number, header: Header, body: unknown): void {
    switch (header.target) {
      case EventTarget.Close: // reason
        this.endsInOrder ||= body === CloseReason.Shutdown || body === CloseReason.IdleTimeout;
        return this.life.abort(
          connectionLost(`the server closed the connection: ${reasonOf(body)}`),
          this.has(Extension.Close) ? lastIdOf(header) : undefined,
        );
      case EventTarget.Shutdown: // {close_timeout: seconds}
        this.endsInOrder = true;
        return this.life.onShutdown();
      case EventTarget.EventEnd: // {count}
        return this.calls.eventsEnded(countOf(body));
      case EventTarget.Load: // {in_flight, latency_us, loop_delay_us, refused}
        if (this.has(Extension.Load)) this.#loads.onEvent(body);
        return;
      case EventTarget.Ping: // {mos}: the answer
        return this.#loads.onPong(body);
      default: // "Server Error" belongs to no call; unknown events are ignored
    }
  }

  override onDrain(): void {
    this.calls.flush();
    super.onDrain();
  }

  // --- keep-alive ---------------------------------------------------------------------------------------------

  override lost(): void {
    this.abort(connectionLost(`the peer is silent: ${CloseReason.PongTimeout}`));
  }

  suspected(isSuspect: boolean): void {
    this.#owner.onSuspect?.(this, isSuspect);
  }

  proven(): void {
    this.calls.flush();
  }

  notProven(): void {
    if (this.state === 'open') this.life.onShutdown(NOT_PROVEN);
    else this.abort(connectionLost(NOT_PROVEN));
  }

  /**
   * Whether calls wait until the server has answered a ping, since this process was frozen and the server may have closed the
   * connection meanwhile. `onSuspect` tells of the end, or `onShutdown`, with the calls.
   */
  mustProve(now: number): boolean {
    this.keepAlive.used(now);
    return this.keepAlive.isUnproven;
  }

  override get makesCalls(): boolean {
    return true;
  }

  protected override get isPeerStalled(): boolean {
    return false; // only a server pauses reading for that
  }

  override hasCallsInFlight(): boolean {
    return this.calls.inFlight > 0;
  }

  override isBusy(): boolean {
    return this.calls.wasBusy() || super.isBusy();
  }

  // --- the end ------------------------------------------------------------------------------------------------

  /** Drains: starts nothing new and closes when nothing is in flight. */
  finish(): void {
    this.life.finish();
  }

  override close(reason: string): void {
    this.keepAlive.stop(); // what waits for its proof fails with the rest
    // answers to events in flight must not meet a closed socket: the reset would discard what was sent
    this.life.close(reason, this.calls.closing());
  }

  protected override hasCalls(): boolean {
    const { inFlight, queued } = this.calls;
    return inFlight + queued > 0;
  }

  refuseCalls(reason: Fault): void {
    this.calls.refuse(reason);
  }

  moveUnsentCalls(reason: Fault): void {
    this.#owner.onShutdown(this, this.calls.takeMovable(reason));
  }

  protected override failStarted(reason: Fault, unsent: Fault, lastTaken?: number): void {
    if (this.keepAlive.isUnproven) this.moveUnsentCalls(unsent);
    this.calls.failAll(reason, unsent, lastTaken);
    this.#calling.failAll(unsent);
    super.failStarted(reason, unsent, lastTaken);
  }

  protected override over(reason: Fault): void {
    if (this.#isAnnounced) tellConnection(clientConnection, this, reason);
    this.#owner.onClose(this, reason);
  }
}

/** The last id that the server accepted, if it reported one. */
function lastIdOf({ last_id: id }: Header): number | undefined {
  return Number.isInteger(id) && (id as number) >= 0 && (id as number) <= MAX_ID ? (id as number) : undefined;
}

function reasonOf(body: unknown): string {
  return typeof body === 'string' ? body.slice(0, 256) : 'no reason given';
}

function countOf(body: unknown): number {
  const count = (body as { count?: unknown } | null)?.count;
  return Number.isInteger(count) && (count as number) > 0 ? (count as number) : 0;
}
