import type { StartedCall } from '../../../cluster/peer-source.js';
import type { MadeOperation } from '../../../diagnostics/made-operation.js';
import type { Clock } from '../../../protocol/clock.js';
import { Fault } from '../../../protocol/fault.js';
import type { Header } from '../../../protocol/frame.js';
import { callCancelled } from '../../../rpc/call-faults.js';
import type { Channel } from '../../../rpc/channel/channel.js';
import { captureContext } from '../../../rpc/context/async-context.js';
import { onAbort } from '../../../rpc/context/listeners.js';
import type { ReplySink } from '../../../rpc/client/call-request.js';
import { callTimeout, type CallTiming } from '../../../rpc/client/call-timeout.js';
import type { CallPlan } from './client-routes.js';
import { callError, type MadeCall } from '../../errors/failed-call.js';
import { applicationHeader, callListener, type HeaderListener } from '../../streams/peer-header.js';

/** Where the outcome of a call goes. */
export interface Outcome<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
  /** `resolve` is that of a promise: it also accepts a promise that rejects. */
  readonly isPromise?: boolean;
  /** Called if the answer is a stream. Without it, a stream is an error. */
  stream?: ((channel: Channel) => void) | undefined;
}

/** One call from its start to its outcome, whatever it is waiting for. */
export class Attempt<T> implements ReplySink {
  over = false;
  pending: StartedCall | undefined;
  /** The call as subscribers of the tracing channels see it; `undefined` without them. */
  operation: MadeOperation | undefined;
  /** Nest's deserializer, if there is one. */
  decode: ((response: unknown) => Promise<T>) | undefined;
  /** When it began, if it was not sent at once. */
  since: number | undefined;
  readonly stream: ((channel: Channel) => void) | undefined;
  #channel: Channel | undefined;
  #whenOver: (() => void) | undefined;
  /** Gets the header of the answer. */
  readonly #onHeader: HeaderListener | undefined;

  /** In the async context of the caller. */
  constructor(
    private readonly outcome: Outcome<T>,
    private readonly plan: Pick<CallPlan, 'route' | 'timeoutMs' | 'onHeader'>,
    /** The server in messages: of several, that of the connection it is pinned to. */
    public where: string,
    private readonly clock: Clock,
    onStream?: (channel: Channel) => void,
  ) {
    this.#onHeader = plan.onHeader && inThisContext(plan.onHeader);
    this.stream =
      outcome.stream &&
      ((channel) => {
        if (this.over) return channel.close();
        this.#channel = channel;
        onStream?.(channel);
        channel.whenDone(() => this.#end());
        outcome.stream?.(channel);
      });
  }

  resolve(body: unknown, header?: Header | null): void {
    if (this.#onHeader && !this.#tells(this.#onHeader, header)) return;
    if (this.decode) {
      this.decode(body).then(
        (value) => this.#end() && this.outcome.resolve(value),
        (error: unknown) => this.reject(error),
      );
    } else if (this.#end()) this.outcome.resolve(body as T);
  }

  reject(error: unknown): void {
    const header = this.#onHeader && error instanceof Fault ? error.header : undefined;
    if (this.#onHeader && header && !this.#tells(this.#onHeader, header)) return;
    if (this.#end()) this.outcome.reject(callError(error, this.#made()));
  }

  /** Tells the caller of the header of the answer. False if that has ended the call. */
  #tells(onHeader: HeaderListener, header: Header | null | undefined): boolean {
    if (this.over) return false;
    try {
      callListener(onHeader, applicationHeader(header));
    } catch (error) {
      if (this.#end()) this.outcome.reject(error);
    }
    return !this.over;
  }

  #made(): MadeCall {
    const { plan, pending } = this;
    const since = this.since ?? (pending ? pending.expiresAt - plan.timeoutMs : this.clock.now());
    return { target: plan.route.target, where: this.server, since, clock: this.clock };
  }

  /** The server that it was sent to, in messages. */
  get server(): string {
    return this.pending?.where ?? this.where;
  }

  /** Whether it may have reached a server. */
  get wasSent(): boolean {
    return this.#channel !== undefined || this.pending?.wasSent === true;
  }

  /** The call times out, whatever it is waiting for. A stream that has begun has its own time limit, or none. */
  timeOut(timing: CallTiming): void {
    if (this.#channel) return;
    const wasSent = this.pending?.wasSent === true;
    this.pending?.abandon();
    this.reject(callTimeout(timing, wasSent ? 'response' : 'queue'));
  }

  /** Time that the call has left, at least 1. It is also the limit of a stream that answers the call. */
  leftMs(): number {
    return Math.max(1, (this.pending?.expiresAt ?? 0) - this.clock.now());
  }

  /** Abandons the call without telling the caller. */
  abandon(): void {
    if (!this.#end()) return;
    this.#channel?.cancel();
    this.pending?.abandon();
  }

  /** Cancels the call when the signal aborts: the caller's own, or that of the handler that makes the call. */
  cancelOn(signal: AbortSignal, target: string): void {
    const cancel = (): void => {
      const fault = cancelledBy(signal, target);
      this.pending?.abandon();
      if (this.#channel) this.#channel.cancel(fault);
      else this.reject(fault);
    };
    if (signal.aborted) return cancel();
    this.whenOver(onAbort(signal, cancel));
  }

  /** Calls back once when the outcome is known. */
  whenOver(callback: () => void): void {
    const before = this.#whenOver;
    this.#whenOver = () => {
      before?.();
      callback();
    };
  }

  #end(): boolean {
    if (this.over) return false;
    this.over = true;
    this.#whenOver?.();
    return true;
  }
}

/** The same function, called in the async context of the running code. */
function inThisContext(onHeader: HeaderListener): HeaderListener {
  const context = captureContext();
  return (header) => context.runInAsyncScope(onHeader, undefined, header);
}

/** The fault of what a signal has cancelled. */
export function cancelledBy({ reason }: AbortSignal, target: string): Fault {
  return cancelled(target, reason);
}

/** The fault of what its caller has cancelled. */
export function cancelled(target: string, cause?: unknown): Fault {
  return callCancelled(`${target} was cancelled`, cause);
}

/** Cancels a channel when the signal aborts. Returns what stops listening. */
export function cancelChannelOn(channel: Channel, signal: AbortSignal, target: string): () => void {
  return onAbort(signal, () => channel.cancel(cancelledBy(signal, target)));
}

/** Resolves as `work` does; rejects with the fault of a cancelled call if a signal aborts first. */
export function unlessAborted<T>(
  work: Promise<T>,
  signals: readonly AbortSignal[],
  target: string,
): Promise<T> {
  if (signals.length === 0) return work;
  return new Promise((resolve, reject) => {
    const unlisten = signals.map((signal) => onAbort(signal, () => reject(cancelledBy(signal, target))));
    void work.then(resolve, reject).then(() => {
      for (const stop of unlisten) stop();
    });
  });
}
