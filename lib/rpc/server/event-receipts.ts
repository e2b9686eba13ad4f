import type { Timer } from '../../protocol/clock.js';
import { EventTarget } from '../../protocol/event.js';
import { Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import { MsgType } from '../../protocol/frame.js';
import { toErrorFrame } from '../../protocol/wire-error.js';
import type { IncomingCall } from './incoming-call.js';
import type { ServingOptions } from './serving.js';

/** Ends of events that are told at once; fewer wait for the next turn of the event loop, and go together. */
const BATCH = 32;

export type ReceiptsOptions = Pick<ServingOptions, 'peer' | 'send'>;

/**
 * What the sender of events hears of them, if it wants to: that each was taken, or why it was refused, and how many have
 * ended since. By that it holds back what would find no slot.
 */
export class EventReceipts {
  #ended = 0;
  #timer: Timer | undefined;

  constructor(private readonly options: ReceiptsOptions) {}

  // [101, id, {}, nil]
  taken(call: IncomingCall): void {
    const { peer, send } = this.options;
    if (!peer.has(Extension.EventAnswer)) return;
    call.isTaken = true;
    send(MsgType.Msg, call.id, null, null);
  }

  // [101, id, {status_code}, message]
  refused(call: IncomingCall, fault: Fault, name: string): void {
    const { peer, send } = this.options;
    if (!peer.has(Extension.EventAnswer)) return;
    const { header, body } = toErrorFrame(fault, name);
    send(MsgType.Msg, call.id, header, body);
  }

  /** The handler of an event that was taken has ended. */
  ended(): void {
    const { peer } = this.options;
    if (peer.state === 'closed') return;
    this.#ended += 1;
    if (this.#ended >= BATCH) this.#tell();
    else this.#timer ??= peer.clock.after(0, this.#tell);
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
    this.options.peer.sendEvent(EventTarget.EventEnd, { count });
  };
}
