import type { Fault } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import type { CallRequest, ReplySink } from './call-request.js';
import type { EventMode } from './event-mode.js';
import { type CallLine, PendingCall, type PendingCallOwner } from './pending-call.js';

/** An event of this side. Its sink resolves when the peer has accepted it; when it was sent, if the peer does not confirm. */
export class PendingEvent extends PendingCall {
  #mode: EventMode | undefined;

  constructor(request: CallRequest, sink: ReplySink, owner: PendingCallOwner) {
    super(request, new FirstOutcome(sink), owner);
  }

  override get isEvent(): boolean {
    return true;
  }

  override transmit(line: CallLine, id: number): void {
    super.transmit(line, id);
    if (this.settled) return;
    const { events } = line;
    this.#mode = events;
    if (events === 'silent') this.resolve(undefined);
    // the call keeps its slot until it is answered
    else if (events === 'called') this.tell(undefined);
  }

  protected override headerFor(line: CallLine): Header {
    const { header } = this.request;
    return line.withDeadline(this, line.events === 'called' ? header : { ...header, one_way: true });
  }

  /** Resolves without waiting for the confirmation, since this side closes. */
  override sentAtClose(): boolean {
    super.resolve(undefined);
    return true;
  }

  override resolve(body: unknown): void {
    if (this.#mode === 'answered' && !this.settled) this.owner.eventTaken();
    super.resolve(body);
  }
}

/** Forwards only the first outcome. */
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
