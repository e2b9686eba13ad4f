import type { Clock } from '../../protocol/clock.js';
import { CloseReason, EventTarget } from '../../protocol/event.js';
import { MsgType, type Frame, type Header } from '../../protocol/frame.js';
import type { RapLimits } from '../limits.js';
import { TokenBucket } from '../time/token-bucket.js';
import type { ConnectionLife } from './connection-life.js';
import { Pings, type PingSink } from './pings.js';

/** Largest ping whose body is sent back. */
const MAX_PING_BYTES = 1024;

/** What control events need from their connection. */
export interface EventsHost {
  send(type: MsgType, id: number, header: Header | null, body: unknown): number;
  nextId(): number;
  /** Any event except a ping. */
  onEvent(id: number, header: Header, body: unknown): void;
}

export interface EventsOptions {
  readonly isServer: boolean;
  readonly clock: Clock;
  readonly limits: RapLimits;
  readonly life: ConnectionLife;
  readonly host: EventsHost;
}

/** Control events of a connection. Pings are handled here, the others by the client or server half. */
export class ControlEvents {
  readonly pings = new Pings();
  readonly #pingAllowance: TokenBucket;

  constructor(private readonly options: EventsOptions) {
    const { clock, limits } = options;
    this.#pingAllowance = new TokenBucket(clock, limits.pingBurst, limits.pingsPerSecond);
  }

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

  /** An event of the peer, or the answer to one of this side. */
  onFrame([type, id, header, body]: Frame, bytes: number): void {
    const { isServer, host, life } = this.options;
    const isAnswer = type === (isServer ? MsgType.ServerEvent : MsgType.ClientEvent);
    if (isAnswer) return this.pings.answered(id);
    if (header.target !== EventTarget.Ping) return host.onEvent(id, header, body);
    // {} or "", answered under the same id and type; a large body is not echoed
    if (!this.#pingAllowance.take()) return life.close(CloseReason.TooManyPings);
    const echo = bytes <= MAX_PING_BYTES ? body : {};
    host.send(type, id, isServer ? null : { target: EventTarget.Ping }, echo);
  }
}
