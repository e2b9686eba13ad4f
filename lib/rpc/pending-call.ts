import type { EncodedHeader } from '../protocol/encoder.js';
import { Fault, LocalCode, type Sent } from '../protocol/fault.js';
import type { Header } from '../protocol/frame.js';
import { Status } from '../protocol/status.js';
import type { Channel } from './channel.js';
import { channelFault } from './channels.js';
import { Expiring } from './deadline-queue.js';

/** What a caller wants sent. */
export interface CallRequest {
  readonly target: string;
  /** The header on the wire; it holds the target. */
  readonly header: Header;
  /** The same, encoded ahead: for calls that have nothing more to say. */
  readonly encodedHeader?: EncodedHeader | undefined;
  readonly body: unknown;
  /** Time for the answer, queueing included, in milliseconds. */
  readonly timeoutMs: number;
  /** Whether the peer is told how much time is left: the caller asked for a limit that the server does not know. */
  readonly tellTimeLeft?: boolean;
}

/** Where the one answer of a call goes. */
export interface ReplySink {
  resolve(body: unknown): void;
  reject(fault: Fault): void;
  /** The server answers with a stream. Without it, a stream is an error. */
  stream?(channel: Channel): void;
}

/** The table or queue that a pending call stands in while it waits. */
export interface PendingCallOwner {
  forget(call: PendingCall): void;
  /** The call was given up after it was sent: its answer is of no use. */
  abandoned(call: PendingCall): void;
}

/** A call of this side that waits for its answer. It settles once; whatever comes later is ignored. */
export class PendingCall extends Expiring {
  /** Correlation id; 0 until the call is sent. */
  id = 0;
  settled = false;
  /** Waits in the queue of its owner. */
  queued = false;

  constructor(
    readonly request: CallRequest,
    private readonly sink: ReplySink,
    public owner: PendingCallOwner,
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

  /** The caller has lost interest: the caller is not told, the peer is. */
  abandon(): void {
    if (this.#settle() && this.id !== 0) this.owner.abandoned(this);
  }

  override expire(): void {
    const phase = this.id === 0 ? 'queue' : 'response';
    if (!this.#settle()) return;
    if (this.id !== 0) this.owner.abandoned(this);
    this.sink.reject(callTimeout(this.request, phase));
  }

  /** The answer is a stream; false where the caller wanted one value, who is told then. */
  becomeStream(create: () => Channel): boolean {
    if (!this.sink.stream) {
      this.reject(channelFault(`${this.request.target} yields several values: use stream(), not call()`));
      return false;
    }
    if (this.#settle()) this.sink.stream(create());
    return true;
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

/** A header with the time that is left. */
export function timeLeftHeader(header: Header, timeoutMs: number): Header {
  return { ...header, timeout_ms: Math.max(1, Math.ceil(timeoutMs)) };
}
