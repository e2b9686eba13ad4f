import { type AgreedExtensions, Extension } from '../../protocol/extension.js';
import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { type CallRequest, PendingCall, type PendingCallOwner, type ReplySink } from './pending-call.js';

/**
 * How events go to a peer:
 *
 * - `answered`: without an answer of the handler; the peer says that it has taken each, or why not
 * - `silent`: the same, and the peer says nothing
 * - `called`: as calls whose answers are dropped
 */
export type EventMode = 'answered' | 'silent' | 'called';

export function eventMode(agreed: AgreedExtensions): EventMode {
  if (!agreed.has(Extension.OneWay)) return 'called';
  return agreed.has(Extension.EventAnswer) ? 'answered' : 'silent';
}

export function eventHeader(header: Header, mode: EventMode): Header {
  return mode === 'called' ? header : { ...header, one_way: true };
}

/** An event of this side on its way to the peer. Its sink hears that it was taken; that it was sent, if the peer does not tell. */
export class PendingEvent extends PendingCall {
  override readonly isEvent = true;
  override isPlain = true;
  #mode: EventMode | undefined;

  constructor(request: CallRequest, sink: ReplySink, owner: PendingCallOwner) {
    super(request, new FirstOutcome(sink), owner);
  }

  /** It was handed to the connection. */
  wasWritten(mode: EventMode): void {
    this.#mode = mode;
    if (mode === 'silent') this.resolve(undefined);
    // the call keeps its slot until its answer has come
    else if (mode === 'called') this.tell(undefined);
  }

  /** This side closes, and does not wait to hear that it was taken: it was sent, as with a peer that does not tell. */
  wasSentAtClose(): void {
    super.resolve(undefined);
  }

  override resolve(body: unknown): void {
    if (this.#mode === 'answered' && !this.settled) this.owner.eventTaken();
    super.resolve(body);
  }
}

/** Takes the first outcome and drops the others. */
class FirstOutcome implements ReplySink {
  #isTold = false;

  constructor(private readonly sink: ReplySink) {}

  resolve(body: unknown): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.sink.resolve(body);
  }

  reject(fault: Fault): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.sink.reject(fault);
  }
}
