import { Fault, LocalCode, type Sent } from '../protocol/fault.js';
import type { EncodedHeader } from '../protocol/encoder.js';
import type { Header } from '../protocol/frame.js';
import { Status } from '../protocol/status.js';
import { Expiring } from './deadline-queue.js';

/** What a caller wants sent. */
export interface CallRequest {
  readonly target: string;
  /** The header on the wire; it holds the target. */
  readonly header: Header | EncodedHeader;
  readonly body: unknown;
  /** Time for the answer, queueing included, in milliseconds. */
  readonly timeoutMs: number;
}

/** Where the one answer of a call goes. */
export interface ReplySink {
  resolve(body: unknown): void;
  reject(fault: Fault): void;
}

/** The table that a pending call stands in while it waits. */
export interface PendingCallOwner {
  forget(call: PendingCall): void;
}

/** A call of this side that waits for its answer. It settles once; whatever comes later is ignored. */
export class PendingCall extends Expiring {
  /** Correlation id; 0 until the call is sent. */
  id = 0;
  settled = false;

  constructor(
    readonly request: CallRequest,
    private readonly sink: ReplySink,
    private readonly owner: PendingCallOwner,
  ) {
    super();
  }

  /** Whether the call may have reached the peer. */
  get sent(): Sent {
    return this.id === 0 ? 'no' : 'unknown';
  }

  resolve(body: unknown): void {
    if (this.#settle()) this.sink.resolve(body);
  }

  reject(fault: Fault): void {
    if (this.#settle()) this.sink.reject(fault);
  }

  /** The caller has lost interest; nobody is told. */
  abandon(): void {
    this.#settle();
  }

  override expire(): void {
    const phase = this.id === 0 ? 'queue' : 'response';
    this.reject(callTimeout(this.request, phase));
  }

  #settle(): boolean {
    if (this.settled) return false;
    this.settled = true;
    this.owner.forget(this);
    return true;
  }
}

/** The fault of a call whose time ran out. */
export function callTimeout(
  { target, timeoutMs }: Pick<CallRequest, 'target' | 'timeoutMs'>,
  phase: 'connect' | 'queue' | 'response',
  cause?: unknown,
): Fault {
  const waited = { connect: 'a connection', queue: 'a free slot', response: 'the answer' }[phase];
  return new Fault({
    status: Status.RunTime,
    code: LocalCode.CallTimeout,
    message: `${target} timed out after ${timeoutMs} ms, waiting for ${waited}`,
    phase,
    sent: phase === 'response' ? 'unknown' : 'no',
    cause,
  });
}
