import { Fault, LocalCode } from '../protocol/fault.js';
import { Status } from '../protocol/status.js';
import type { PendingCall, PendingCallOwner } from '../rpc/client/pending-call.js';
import { type DeadlineQueue, Expiring } from '../rpc/time/deadline-queue.js';
import type { ClientPeer } from '../rpc/client/client-peer.js';

/** Unsent calls on their way from one connection to the next. They may time out meanwhile. */
export class UnsentCalls implements PendingCallOwner {
  readonly #calls = new Set<PendingCall>();

  constructor(
    private readonly deadlines: DeadlineQueue,
    private readonly onForgotten: () => void,
  ) {}

  get size(): number {
    return this.#calls.size;
  }

  add(call: PendingCall): void {
    call.owner = this;
    this.#calls.add(call);
  }

  takeAll(): PendingCall[] {
    const calls = [...this.#calls];
    this.#calls.clear();
    return calls;
  }

  forget(call: PendingCall): void {
    this.#calls.delete(call);
    this.deadlines.remove(call);
    this.onForgotten();
  }

  giveUp(call: PendingCall): void {
    this.forget(call);
  }

  abandoned(): void {
    // nothing of it was sent
  }

  eventTaken(): void {
    // nor of an event
  }
}

/** A call that waits for the connection. */
export class Waiter extends Expiring {
  /** Why the last attempt failed. */
  cause: Fault | undefined;

  constructor(
    private readonly what: string,
    private readonly timeoutMs: number,
    private readonly where: string,
    private readonly sink: { done(result: ClientPeer | Fault): void },
  ) {
    super();
  }

  settle(result: ClientPeer | Fault): void {
    this.sink.done(result);
  }

  override expire(): void {
    this.settle(
      new Fault({
        status: Status.RunTime,
        code: LocalCode.CallTimeout,
        message: `${this.what} timed out after ${this.timeoutMs} ms, waiting for a connection to ${this.where}`,
        phase: 'connect',
        sent: 'no',
        cause: this.cause,
      }),
    );
  }
}
