import { Fault } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import { Status } from '../protocol/status.js';
import { Expiring } from './deadline-queue.js';
import type { Peer } from './peer.js';

/**
 * A call of the peer that this side answers. It is answered at most once; its slot is free only when `ended` was
 * called, however early it was answered or given up: a peer that cancels does not get more work done than its limit.
 */
export class IncomingCall extends Expiring {
  /** Called once when the caller will get no more from the handler: answered, timed out, connection gone. */
  onSettled: (() => void) | undefined;

  #settled = false;
  #controller: AbortController | undefined;
  #reason: Fault | undefined;

  constructor(
    readonly peer: Peer,
    readonly id: number,
    readonly header: Header,
    readonly body: unknown,
    /** An event: the peer expects no answer. */
    readonly oneWay: boolean,
  ) {
    super();
  }

  /** Whether the call was answered or given up. */
  get settled(): boolean {
    return this.#settled;
  }

  /** Aborted when nobody waits for the result any more. Made on first use. */
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#reason) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** Gives the handler `ms` to answer. */
  limitRun(ms: number): void {
    this.peer.deadlines.add(this, ms);
  }

  /** Time that the handler has left, or `undefined` where it is not limited. */
  get timeLeftMs(): number | undefined {
    return this.lane && Math.max(0, this.expiresAt - this.peer.clock.now());
  }

  /** Answers with a value. A second answer, or one that nobody waits for, is dropped. */
  reply(body: unknown, header: Header | null = null): void {
    if (this.#settle()) this.peer.answer(this, header, body);
  }

  /** Answers with an error; `name` is the class name that a peer of this project gets to see. */
  fail(fault: Fault, name: string = fault.name): void {
    if (this.#settle()) this.peer.answerError(this, fault, name);
  }

  /** The handler has ended: the slot is free. */
  ended(): void {
    this.#settle();
    this.peer.callEnded(this);
  }

  /** Nobody waits any more: the handler is told, and nothing is sent. */
  abort(reason: Fault): void {
    if (!this.#settle()) return;
    this.#cancel(reason);
  }

  /** The run timeout. The peer is told in rap's words; the handler keeps its slot until it ends. */
  override expire(): void {
    const fault = new Fault({
      status: Status.Invoke,
      message: 'Call slow timeout',
      remoteName: 'RpcRunTimeError',
    });
    this.fail(fault, 'RpcRunTimeError');
    this.#cancel(fault);
  }

  #cancel(reason: Fault): void {
    this.#reason = reason;
    this.#controller?.abort(reason);
  }

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.peer.deadlines.remove(this);
    this.onSettled?.();
    return true;
  }
}
