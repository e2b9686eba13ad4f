import type { Clock } from '../../protocol/clock.js';
import { CloseReason, EventTarget } from '../../protocol/event.js';
import { Extension } from '../../protocol/extension.js';
import { MAX_ID, MsgType, type Frame, type Header } from '../../protocol/frame.js';
import { isErrorStatus, Status } from '../../protocol/status.js';
import { connectionLost } from './connection-lost.js';
import type { RapLimits } from '../limits.js';
import type { PeerLife } from './connection-life.js';
import { Pings, type PingSink } from './pings.js';
import type { Sessions } from '../server/sessions.js';
import { TokenBucket } from '../time/token-bucket.js';

/** Largest ping whose body is sent back. */
const MAX_PING_BYTES = 1024;

/** What events ask of their connection. */
export interface EventsHost {
  send(type: MsgType, id: number, header: Header | null, body: unknown): number;
  /** Refuses a frame that is nobody's, as often as a peer may send such. */
  refuse(type: MsgType, id: number, status: number, message: string): void;
  nextId(): number;
  /** Whether both sides offered the extension. */
  has(extension: Extension): boolean;
  /** The client gives a call up. */
  cancelled(id: unknown): void;
  /** Handlers of events that the server had taken have ended. */
  eventsEnded(count: number): void;
}

export interface EventsOptions {
  readonly isServer: boolean;
  readonly clock: Clock;
  readonly limits: RapLimits;
  readonly life: PeerLife;
  readonly sessions: Sessions;
  readonly host: EventsHost;
}

/** What the two sides of a connection tell each other beside calls. */
export class PeerEvents {
  readonly pings = new Pings();
  readonly #pingAllowance: TokenBucket;

  constructor(private readonly options: EventsOptions) {
    const { clock, limits } = options;
    this.#pingAllowance = new TokenBucket(clock, limits.pingBurst, limits.pingsPerSecond);
  }

  /** Sends an event of this side. */
  send(target: string, body: unknown, id = this.options.host.nextId()): void {
    const { isServer, host } = this.options;
    host.send(isServer ? MsgType.ServerEvent : MsgType.ClientEvent, id, { target }, body);
  }

  /** Sends a ping and waits for its answer. */
  measurePing(sink: PingSink): void {
    const { isServer, host, life } = this.options;
    if (life.reason) return sink.reject(life.reason);
    const id = host.nextId();
    this.pings.add(id, sink);
    this.send(EventTarget.Ping, isServer ? '' : {}, id);
  }

  /** An event that the other side has started. */
  onEvent([type, id, header, body]: Frame, bytes: number): void {
    const { isServer, host, life } = this.options;
    if (header.target === EventTarget.Ping) {
      // {} or "", answered under the same id and type; a large body is not worth its way back
      if (!this.#pingAllowance.take()) return life.close(CloseReason.TooManyPings);
      const echo = bytes <= MAX_PING_BYTES ? body : {};
      host.send(type, id, isServer ? null : { target: EventTarget.Ping }, echo);
    } else if (isServer) this.#onClientEvent(id, header, body);
    else this.#onServerEvent(header, body);
  }

  #onServerEvent(header: Header, body: unknown): void {
    const { host, life } = this.options;
    switch (header.target) {
      case EventTarget.Close: // reason
        return life.abort(
          connectionLost(`the server closed the connection: ${reasonOf(body)}`),
          host.has(Extension.Close) ? lastIdOf(header) : undefined,
        );
      case EventTarget.Shutdown: // {close_timeout: seconds}
        return life.onShutdown();
      case EventTarget.EventEnd: // {count}
        return host.eventsEnded(countOf(body));
      default: // "Server Error" belongs to no call; what is unknown is for others
    }
  }

  #onClientEvent(id: number, header: Header, body: unknown): void {
    const { host, sessions, life } = this.options;
    switch (header.target) {
      case EventTarget.Cancel: // {id}: no answer, neither to this nor to the call
        return host.cancelled((body as { id?: unknown } | null)?.id);
      case EventTarget.SessionClose: // {session_id}
        return sessions.close((body as { session_id?: unknown } | null)?.session_id);
      case EventTarget.Drop: // the client says goodbye
        host.send(MsgType.ClientEvent, id, null, 'success');
        return;
      case EventTarget.Declare:
        return life.protocolError('a second DECLARE');
      default:
        if (!isErrorStatus(header.status_code))
          host.refuse(MsgType.ClientEvent, id, Status.Protocol, 'unknown event');
    }
  }
}

/** The last id that the server took, where it told it. */
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
