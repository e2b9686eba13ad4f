import type { Clock } from '../../protocol/clock.js';
import type { EncodedHeader } from '../../protocol/bytes/encoded-frame.js';
import { Fault, LocalCode, type Sent } from '../../protocol/fault.js';
import type { Header } from '../../protocol/frame.js';
import { Status } from '../../protocol/status.js';
import { fromErrorFrame, nameOf } from '../../protocol/wire-error.js';
import type { CapturedContext } from '../context/async-context.js';
import type { Channel } from '../channel/channel.js';
import { channelFault } from '../channel/channel-table.js';
import { Expiring } from '../time/deadline-queue.js';
import { isOwnTimeout } from '../time/own-timeout.js';
import { afterwards, type Exchange } from '../../pipeline/exchange.js';

/** What a caller wants sent. */
export interface CallRequest {
  readonly target: string;
  /** The header on the wire; it holds the target. */
  readonly header: Header;
  /** The same, encoded ahead: for calls that have nothing more to say. */
  readonly encodedHeader?: EncodedHeader | undefined;
  readonly body: unknown;
  /** Time that the caller has given for the answer, in milliseconds. */
  readonly timeoutMs: number;
  /** What is left of it, if the call has waited before it came here. */
  readonly leftMs?: number | undefined;
  /** The server in messages. */
  readonly where?: string | undefined;
  /** Whether the peer is told how much time is left: the caller asked for a limit that the server does not know. */
  readonly tellTimeLeft?: boolean;
  /** Whether it belongs to a session, and so to its connection: it never goes elsewhere. */
  readonly pinned?: boolean;
}

/** Where the one answer of a call goes. */
export interface ReplySink {
  resolve(body: unknown): void;
  reject(fault: Fault): void;
  /** The server answers with a stream. Without it, a stream is an error. */
  stream?(channel: Channel): void;
}

/** An answer as it came in. */
export type Answer = readonly [header: Header, body: unknown, bytes: number];

/** The table or queue that a pending call stands in while it waits. */
export interface PendingCallOwner {
  forget(call: PendingCall): void;
  /** As `forget`, for a call whose caller, or time, has given it up: others may be given up with it. */
  giveUp(call: PendingCall): void;
  /** The call was given up after it was sent: its answer is of no use. */
  abandoned(call: PendingCall): void;
  /** The peer has taken an event. */
  eventTaken(): void;
}

/** A call of this side that waits for its answer. It settles once; whatever comes later is ignored. */
export class PendingCall extends Expiring {
  /** Correlation id; 0 until the call is sent. */
  id = 0;
  settled = false;
  /** Waits in the queue of its owner. */
  queued = false;
  /** Its way through the processors, where there are any. */
  exchange: Exchange | undefined;
  /** Processors work on it just now: the peer has not got it yet, or its answer is here. */
  isProcessed: 'out' | 'in' | false = false;
  /** No processor sees it. */
  isPlain = false;
  /** Its caller waits for no answer of a handler. */
  readonly isEvent: boolean = false;
  /** The async context of the caller, for processors that work on the call later. */
  context: CapturedContext | undefined;

  constructor(
    public request: CallRequest,
    private readonly sink: ReplySink,
    public owner: PendingCallOwner,
  ) {
    super();
  }

  /** Whether the call may have reached the peer. */
  get sent(): Sent {
    return this.wasSent ? 'unknown' : 'no';
  }

  get wasSent(): boolean {
    return this.id !== 0 && this.isProcessed !== 'out';
  }

  /** Keeps its body as it is now. */
  hold(held: unknown): void {
    if (held !== this.request.body) this.request = { ...this.request, body: held };
  }

  resolve(body: unknown): void {
    if (!this.#settle()) return;
    this.exchange?.exit();
    this.sink.resolve(body);
  }

  reject(fault: Fault): void {
    if (!this.#settle()) return;
    this.exchange?.exit(fault);
    this.sink.reject(fault);
  }

  /** Tells the caller an outcome before the call is over. */
  protected tell(body: unknown): void {
    this.sink.resolve(body);
  }

  /** The peer answers with an error. One that says that the time is over is this side's own, where it is over here, too. */
  fail(fault: Fault, clock: Clock): void {
    const isOver = this.request.tellTimeLeft === true && isOwnTimeout(fault, this, clock);
    this.reject(isOver ? callTimeout(this.request, 'response') : fault);
  }

  /** The caller has lost interest: the caller is not told, the peer is. */
  abandon(): void {
    if (!this.#settle(true)) return;
    this.exchange?.exit(callCancelled(this.request));
    if (this.wasSent) this.owner.abandoned(this);
  }

  override expire(): void {
    if (!this.#settle(true)) return;
    const fault = callTimeout(this.request, this.wasSent ? 'response' : 'queue');
    this.exchange?.exit(fault);
    if (this.wasSent) this.owner.abandoned(this);
    this.sink.reject(fault);
  }

  /** The answer goes through the processors; the call keeps its slot and its time meanwhile. */
  processAnswer([header, body, bytes]: Answer, clock: Clock, done: () => void): void {
    const exchange = this.exchange as Exchange;
    const view = exchange.message(undefined, header, body, bytes);
    const error = fromErrorFrame(header, body);
    if (error) view.fail({ fault: error, name: nameOf(error) });
    this.isProcessed = 'in';
    const settle = (): void => {
      const named = exchange.faultIn(view);
      if (!named) this.resolve(view.body);
      // what a processor made of it is the processor's own word
      else if (named.fault === error) this.fail(error, clock);
      else this.reject(named.fault);
      done();
    };
    void afterwards(() => exchange.inbound(view), settle, settle);
  }

  /** Nothing of it was sent, and nothing will be over this connection. */
  restart(reason: Fault): void {
    this.exchange?.exit(reason);
    this.context ??= this.exchange?.scope;
    this.exchange = undefined;
    this.id = 0;
    this.isProcessed = false;
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

  #settle(isGivenUp = false): boolean {
    if (this.settled) return false;
    this.settled = true;
    if (isGivenUp) this.owner.giveUp(this);
    else this.owner.forget(this);
    return true;
  }
}

function callCancelled({ target }: CallRequest): Fault {
  return new Fault({
    status: Status.RpcCall,
    code: LocalCode.CallCancelled,
    message: `${target} was cancelled`,
  });
}

/** Time that a call has from here on. */
export function timeLeftOf({ timeoutMs, leftMs }: CallRequest): number {
  return leftMs ?? timeoutMs;
}

/** What the error of a call says that ran out of time. */
export type CallTiming = Pick<CallRequest, 'target' | 'timeoutMs' | 'where'>;

/** The fault of a call whose time ran out. */
export function callTimeout(
  { target, timeoutMs, where }: CallTiming,
  phase: 'connect' | 'queue' | 'response',
  cause?: unknown,
): Fault {
  if (timeoutMs <= 0) return deadlineOver(target, timeoutMs, cause);
  const waited = { connect: 'a connection to', queue: 'a free slot of', response: 'the answer of' }[phase];
  return new Fault({
    status: Status.RunTime,
    code: LocalCode.CallTimeout,
    message: `${target} timed out after ${timeoutMs} ms, waiting for ${waited} ${where ?? 'the server'}`,
    phase,
    sent: phase === 'response' ? 'unknown' : 'no',
    cause,
  });
}

/** The fault of a call that was not begun: its time was over before. */
function deadlineOver(target: string, timeoutMs: number, cause: unknown): Fault {
  const since = timeoutMs < 0 ? `${-timeoutMs} ms before the call` : 'when the call was made';
  return new Fault({
    status: Status.RunTime,
    code: LocalCode.CallTimeout,
    message: `${target} was not called: its deadline was over ${since}`,
    phase: 'connect',
    sent: 'no',
    cause,
  });
}

/** A header with the time that is left, where that is a time: a caller may say that it has no end. */
export function timeLeftHeader(header: Header, timeoutMs: number): Header {
  if (!Number.isSafeInteger(Math.ceil(timeoutMs))) return header;
  return { ...header, timeout_ms: Math.max(1, Math.ceil(timeoutMs)) };
}
