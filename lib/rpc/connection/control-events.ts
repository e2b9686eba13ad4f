import type { Clock } from '../../protocol/clock.js';
import { CloseReason, EventTarget } from '../../protocol/event.js';
import { MsgType, type Frame, type Header } from '../../protocol/frame.js';
import { isObject } from '../../protocol/values/unknown.js';
import type { RapLimits } from '../limits.js';
import { TokenBucket } from '../time/token-bucket.js';
import type { ConnectionLife } from './connection-life.js';
import { BEST_MOS } from './load-report.js';
import { Pings, type PingSink } from './pings.js';

/** Largest ping whose body is sent back. */
const MAX_PING_BYTES = 1024;

/** What control events need from their connection. */
export interface EventsHost {
  send(type: MsgType, id: number, header: Header | null, body: unknown): number;
  nextId(): number;
  /** Any event except a ping; at a client, also the answer to its own ping, as if it were a ping. */
  onEvent(id: number, header: Header, body: unknown): void;
}

export interface EventsOptions {
  readonly isServer: boolean;
  readonly clock: Clock;
  readonly limits: RapLimits;
  readonly life: ConnectionLife;
  readonly host: EventsHost;
  /** Health of this server for the answers to pings, 0 to 5; `undefined` if nobody measures it. */
  readonly mos: (() => number) | undefined;
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
    if (isAnswer) {
      if (this.pings.answered(id) && !isServer) host.onEvent(id, { target: EventTarget.Ping }, body);
      return;
    }
    if (header.target !== EventTarget.Ping) return host.onEvent(id, header, body);
    // {} or "", answered under the same id and type; a large body is not echoed
    if (!this.#pingAllowance.take()) return life.close(CloseReason.TooManyPings);
    const echo = bytes <= MAX_PING_BYTES ? body : {};
    host.send(type, id, isServer ? null : { target: EventTarget.Ping }, this.#withHealth(echo));
  }

  /** A client takes a server that says nothing for a healthy one: its answer is then the same as that of a Python server. */
  #withHealth(body: unknown): unknown {
    const mos = this.options.mos?.() ?? BEST_MOS;
    return mos < BEST_MOS && isPlainMap(body) ? { ...body, mos } : body;
  }
}

/** A map as msgpack has it, and not one of the objects that the extension `values` makes. */
function isPlainMap(body: unknown): body is Readonly<Record<string, unknown>> {
  if (!isObject(body)) return false;
  const prototype: unknown = Object.getPrototypeOf(body);
  return prototype === Object.prototype || prototype === null;
}
