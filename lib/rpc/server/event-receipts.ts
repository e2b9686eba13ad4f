import type { Clock, Timer } from '../../protocol/clock.js';
import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import { EventTarget } from '../../protocol/event.js';
import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import { type Header, MsgType } from '../../protocol/frame.js';
import { toErrorFrame } from '../../protocol/wire-error.js';
import type { ConnectionHandle } from '../connection/connection-info.js';
import type { IncomingCall } from './incoming-call.js';

/** Ended events that are reported at once; fewer are batched until the next turn of the event loop. */
const BATCH = 32;

export interface ReceiptsOptions {
  readonly connection: ConnectionHandle & { sendEvent(target: string, body: unknown): void };
  readonly clock: Clock;
  readonly send: (type: MsgType, id: number, header: Header | EncodedHeader | null, body: unknown) => number;
}

/**
 * Tells the sender of events, if it supports that, that each was accepted or refused, and how many have ended since: the
 * sender queues events that would not get a slot.
 */
export class EventReceipts {
  #ended = 0;
  #timer: Timer | undefined;

  constructor(private readonly options: ReceiptsOptions) {}

  // [101, id, {}, nil]
  taken(call: IncomingCall): void {
    const { connection, send } = this.options;
    if (!connection.has(Extension.EventAnswer)) return;
    call.isTaken = true;
    send(MsgType.Msg, call.id, null, null);
  }

  // [101, id, {status_code}, message]
  refused(call: IncomingCall, fault: Fault, name: string): void {
    const { connection, send } = this.options;
    if (!connection.has(Extension.EventAnswer)) return;
    const { header, body } = toErrorFrame(fault, name);
    send(MsgType.Msg, call.id, header, body);
  }

  /** The handler of an accepted event has ended. */
  ended(): void {
    const { connection, clock } = this.options;
    if (connection.isClosed) return;
    this.#ended += 1;
    if (this.#ended >= BATCH) this.#tell();
    else this.#timer ??= clock.after(0, this.#tell);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  // [203, id, {target: "/_event/event_end"}, {count}]
  readonly #tell = (): void => {
    this.stop();
    const count = this.#ended;
    this.#ended = 0;
    this.options.connection.sendEvent(EventTarget.EventEnd, { count });
  };
}
