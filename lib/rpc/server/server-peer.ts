import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import { closeCodeOf } from '../../protocol/close-code.js';
import { CloseReason, EventTarget } from '../../protocol/event.js';
import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import { MsgType, type Frame, type Header } from '../../protocol/frame.js';
import { LifeCycle } from '../../protocol/life-cycle.js';
import type { Link } from '../../protocol/link.js';
import { isErrorStatus, Status } from '../../protocol/status.js';
import { boundedText } from '../../protocol/wire-error.js';
import { connectionLost } from '../connection/connection-lost.js';
import { Peer } from '../connection/peer.js';
import type { PeerOptions } from '../connection/peer-options.js';
import { type CleanContext, PROCESS_CONTEXT } from '../context/async-context.js';
import type { Load } from '../load.js';
import { IncomingTable } from './incoming-table.js';
import type { LoadBody, LoadListener, LoadMeter } from './load-meter.js';
import { type CallOwner, PLAIN_SERVING, type Serving, type ServingPath } from './serving.js';
import { Sessions } from './sessions.js';
import { SlowReaderGuard } from './slow-reader-guard.js';

/** Longest CLOSE reason. */
const MAX_REASON_BYTES = 1024;

/** The owner of a server's connection. */
export interface ServerOwner extends CallOwner {
  /** DECLARE is done. */
  onOpen(peer: ServerPeer): void;
  /** The connection is closed. Called once, after everything pending has failed. */
  onClose(peer: ServerPeer, reason: Fault): void;
}

export interface ServerPeerOptions extends PeerOptions {
  readonly owner: ServerOwner;
  /** Unique name of the connection, sent to the client. */
  readonly id: string;
  /** Load of the server, or of the peer's address. */
  readonly load: Load;
  /** Measures the load of the server. Default: nobody does. */
  readonly meter?: LoadMeter | undefined;
  /** Whether a function is answered under overload and during the drain, too. Default: none is. */
  readonly spares?: ((target: string) => boolean) | undefined;
  /** Default: without processors. */
  readonly serving?: ServingPath | undefined;
  /** The async context in which each incoming call begins. */
  readonly context?: CleanContext | undefined;
}

/** The server's half of a connection: incoming calls and channels, their sessions, and a guard against slow readers. */
export class ServerPeer extends Peer implements LoadListener {
  readonly incoming: IncomingTable;
  readonly sessions: Sessions;
  readonly #owner: ServerOwner;
  readonly #meter: LoadMeter | undefined;
  readonly #serving: Serving;
  readonly #slowReader: SlowReaderGuard;

  constructor(plainLink: Link, options: ServerPeerOptions) {
    const { limits, clock, deadlines, owner, id, load, meter } = options;
    super('server', plainLink, options, {
      id,
      metadata: {},
      load,
      openMs: limits.declareTimeoutMs,
      // jitter: connections that opened together must not ping together
      pingIntervalMs: options.keepAlive.intervalMs * (0.9 + Math.random() * 0.2),
      firstId: 4,
      keepsUnread: true,
      mos: meter && (() => meter.mos),
    });
    const { link, channels } = this;
    this.#owner = owner;
    this.#meter = meter;
    this.incoming = new IncomingTable(limits, load, this.account, clock, meter, options.spares);
    this.sessions = new Sessions(limits.maxSessions);
    this.#slowReader = new SlowReaderGuard(link, limits, (bytes) => this.#onSlowReader(bytes), this.account);
    this.#serving = (options.serving ?? PLAIN_SERVING)({
      connection: this,
      owner,
      link,
      clock,
      deadlines,
      channels,
      limits,
      table: this.incoming,
      sessions: this.sessions,
      slowReader: this.#slowReader,
      send: (...frame) => this.send(...frame),
      ended: () => this.life.closeIfDrained(),
      knowsOfShutdown: () => this.life.isAcknowledged,
      context: options.context ?? PROCESS_CONTEXT,
    });
  }

  override announce(): void {
    if (this.has(Extension.Load)) this.#meter?.watch(this);
    this.#owner.onOpen(this);
  }

  /** Tells the client to start nothing new; calls still in flight after `graceMs` are aborted. */
  drain(graceMs: number): void {
    this.life.drain(graceMs);
    this.#serving.drain();
  }

  // --- LoadListener -------------------------------------------------------------------------------------------

  get lastId(): number {
    return this.incoming.lastId;
  }

  get isInUse(): boolean {
    return this.incoming.size > 0;
  }

  tellLoad(body: LoadBody): void {
    if (!this.isClosed && !this.isPeerStalled) this.sendEvent(EventTarget.Load, body);
  }

  // --- frames -------------------------------------------------------------------------------------------------

  protected override onMessage(id: number, header: Header, body: unknown, bytes: number, cost: number): void {
    this.#serving.onCall(id, header, body, bytes, cost);
  }

  protected override onFirstFrame(
    id: number,
    header: Header,
    body: unknown,
    bytes: number,
    cost: number,
  ): boolean {
    if (!this.#isDeclare(id, header)) return false;
    this.#serving.onDeclare(id, header, body, bytes, cost);
    return true;
  }

  /** A DECLARE with an error status is not one. */
  #isDeclare(id: number, { channel_life_cycle: lifeCycle, status_code: status }: Header): boolean {
    return lifeCycle === LifeCycle.Declare && !isErrorStatus(status) && !this.channels.isLive(id);
  }

  protected override onUnreadable(frame: Frame, fault: Fault): boolean {
    const [type, id, header] = frame;
    if (type === MsgType.Channel && !this.#isDeclare(id, header)) return false;
    this.#serving.onUnreadable(frame, fault);
    return true;
  }

  protected override onEvent(id: number, header: Header, body: unknown): void {
    switch (header.target) {
      case EventTarget.Cancel: // {id}: no answer, neither to this nor to the call
        return this.#serving.onCancel((body as { id?: unknown } | null)?.id);
      case EventTarget.SessionClose: // {session_id}
        return this.sessions.close((body as { session_id?: unknown } | null)?.session_id);
      case EventTarget.Drop: // the client is about to disconnect
        this.send(MsgType.ClientEvent, id, null, 'success');
        return;
      case EventTarget.Declare:
        return this.protocolError('a second DECLARE');
      default:
        if (!isErrorStatus(header.status_code))
          this.refuse(MsgType.ClientEvent, id, Status.Protocol, 'unknown event');
    }
  }

  protected override send(
    type: MsgType,
    id: number,
    header: Header | EncodedHeader | null,
    body: unknown,
  ): number {
    const size = this.link.send(type, id, header, body);
    this.#slowReader.sent(size);
    return size;
  }

  override onDrain(): void {
    super.onDrain();
    this.#slowReader.drained(this.#serving.onDrain());
  }

  // --- keep-alive ---------------------------------------------------------------------------------------------

  override lost(): void {
    this.close(CloseReason.PongTimeout);
  }

  protected override get isPeerStalled(): boolean {
    return this.#slowReader.isPaused;
  }

  override get makesCalls(): boolean {
    return false;
  }

  override hasCallsInFlight(): boolean {
    return false;
  }

  override isBusy(): boolean {
    return this.incoming.wasBusy() || super.isBusy();
  }

  // --- the end ------------------------------------------------------------------------------------------------

  protected override hasCalls(): boolean {
    return this.incoming.size > 0;
  }

  /** Sends CLOSE as the last frame. `isOrderly`: not caused by a frame of the client. */
  sendClose(reason: string, isOrderly: boolean): void {
    // an application may pass anything as the reason: the connection must still close
    const text = typeof reason === 'string' ? boundedText(reason, MAX_REASON_BYTES) : '';
    const target = EventTarget.Close;
    // calls after `last_id` may be retried elsewhere, except after a protocol error: one of them may be the cause
    const last = isOrderly ? { last_id: this.incoming.lastId } : {};
    const header = this.has(Extension.Close)
      ? { target, close_code: closeCodeOf(text), ...last }
      : { target };
    this.link.send(MsgType.ServerEvent, this.ids.next(), header, text);
  }

  override failAll(reason: Fault, lastTaken?: number): void {
    this.#slowReader.stop();
    this.#serving.stop();
    super.failAll(reason, lastTaken);
  }

  protected override abortIncoming(reason: Fault): void {
    this.incoming.abortAll(reason);
    this.sessions.closeAll(reason);
  }

  protected override over(reason: Fault): void {
    this.#meter?.unwatch(this);
    this.#owner.onClose(this, reason);
  }

  #onSlowReader(pendingBytes: number): void {
    this.abort(
      connectionLost(`the peer does not read: ${pendingBytes} bytes wait (limits.sendBufferHardBytes)`),
    );
  }
}
