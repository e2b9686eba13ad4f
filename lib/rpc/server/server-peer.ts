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
import { type CallOwner, PLAIN_SERVING, type Serving, type ServingPath } from './serving.js';
import { Sessions } from './sessions.js';
import { SlowReaderGuard } from './slow-reader-guard.js';

/** Longest reason that a client is told. */
const MAX_REASON_BYTES = 1024;

/** What the owner of a server's connection is told. */
export interface ServerOwner extends CallOwner {
  /** DECLARE is done. */
  onOpen(peer: ServerPeer): void;
  /** The connection is over. Called once, after everything pending has failed. */
  onClose(peer: ServerPeer, reason: Fault): void;
}

export interface ServerPeerOptions extends PeerOptions {
  readonly owner: ServerOwner;
  /** Unique name of the connection, which its client is told. */
  readonly id: string;
  /** That of the server, or of the peer's address there. */
  readonly load: Load;
  /** The way of calls and channels to their handlers. Default: straight. */
  readonly serving?: ServingPath | undefined;
  /** The async context in which the work of each call begins that comes in. */
  readonly context?: CleanContext | undefined;
}

/** The server's side of a connection: calls and channels that come in, their sessions, and a watch on what is not read. */
export class ServerPeer extends Peer {
  readonly incoming: IncomingTable;
  readonly sessions: Sessions;
  readonly #owner: ServerOwner;
  readonly #serving: Serving;
  readonly #slowReader: SlowReaderGuard;

  constructor(plainLink: Link, options: ServerPeerOptions) {
    const { limits, clock, deadlines, owner, id, load } = options;
    super('server', plainLink, options, { id, metadata: {}, load, openMs: limits.declareTimeoutMs });
    const { link, channels } = this;
    this.#owner = owner;
    this.incoming = new IncomingTable(limits, load, this.account, clock);
    this.sessions = new Sessions(limits.maxSessions);
    this.#slowReader = new SlowReaderGuard(link, limits, (bytes) => this.#onNotRead(bytes), this.account);
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
      context: options.context ?? PROCESS_CONTEXT,
    });
  }

  override announce(): void {
    this.#owner.onOpen(this);
  }

  /** The client is told to start nothing new, and what still runs after `graceMs` is aborted. */
  drain(graceMs: number): void {
    this.life.drain(graceMs);
    this.#serving.drain();
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

  /** One that carries an error starts nothing. */
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
      case EventTarget.Drop: // the client says goodbye
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

  protected override pingIntervalMs(intervalMs: number): number {
    // servers spread their pings, or all that started together would ping together
    return intervalMs * (0.9 + Math.random() * 0.2);
  }

  override lost(): void {
    this.close(CloseReason.PongTimeout);
  }

  protected override get isUnread(): boolean {
    return this.#slowReader.isPaused;
  }

  override get mayWait(): boolean {
    return false;
  }

  override isWaiting(): boolean {
    return false;
  }

  override isBusy(): boolean {
    return this.incoming.wasBusy() || super.isBusy();
  }

  // --- the end ------------------------------------------------------------------------------------------------

  protected override hasCalls(): boolean {
    return this.incoming.size > 0;
  }

  /** A server's last word: CLOSE and why. `isOrderly`: no frame of the client is the cause. */
  override farewell(reason: string, isOrderly: boolean): void {
    // whatever an application gives for a reason, the connection ends with it
    const text = typeof reason === 'string' ? boundedText(reason, MAX_REASON_BYTES) : '';
    const target = EventTarget.Close;
    // what comes after an end in order may be repeated elsewhere; after a fault, it may be the fault
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

  protected override abortArrived(reason: Fault): void {
    this.incoming.abortAll(reason);
    this.sessions.closeAll(reason);
  }

  protected override over(reason: Fault): void {
    this.#owner.onClose(this, reason);
  }

  #onNotRead(pendingBytes: number): void {
    this.abort(
      connectionLost(`the peer does not read: ${pendingBytes} bytes wait (limits.sendBufferHardBytes)`),
    );
  }
}
