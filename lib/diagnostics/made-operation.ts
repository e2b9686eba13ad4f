import type { TracingChannel } from 'node:diagnostics_channel';
import { type Header, RESERVED } from '../protocol/frame.js';
import { clientAttempt, clientCall, clientChannel, clientRetry } from './channels.js';
import type { RapCallKind, RapClientOperation, RapFurtherAttempt } from './messages.js';
import { Operation } from './operation.js';
import { CANCELLED, OK, outcomeOf } from './outcome.js';

/** What a call knows of its server: of several, the one that it was sent to last. */
export interface Whereabouts {
  readonly server: string;
  /** Whether it may have reached a server. */
  readonly wasSent?: boolean;
}

/** A call, stream or channel of this side, as subscribers of the tracing channels see it. */
export class MadeOperation<K extends RapCallKind = RapCallKind>
  extends Operation
  implements RapClientOperation
{
  /** The server in messages. */
  whereabouts: Whereabouts;
  #header: Header;
  /** A copy of its own, once subscribers have added to it. */
  #changed: Record<string, unknown> | undefined;

  constructor(
    readonly kind: K,
    target: string,
    header: Header,
    server: string,
    now: number,
  ) {
    super(tracingOf(kind), target, now);
    this.#header = header;
    this.whereabouts = { server };
  }

  get header(): Header {
    return this.#header;
  }

  get server(): string {
    return this.whereabouts.server;
  }

  get messagesSent(): number {
    const hasLeft = this.outcome === OK || this.whereabouts.wasSent === true;
    return (isCall(this.kind) && hasLeft ? 1 : 0) + (this.channel?.sentCount ?? 0);
  }

  get messagesReceived(): number {
    if (this.channel) return this.channel.receivedCount;
    return this.kind === 'unary' && this.outcome === OK ? 1 : 0;
  }

  setHeader(key: string, value: unknown): void {
    assertFree(key);
    if (!this.isStarting) return;
    this.#changed ??= { ...this.#header };
    this.#changed[key] = value;
    this.#header = this.#changed;
  }

  /** Publishes the start; `work` gets the header that subscribers have made, and begins the call. */
  run<T>(work: () => T): T {
    return this.begin(work);
  }
}

function isCall(kind: RapCallKind): boolean {
  return kind === 'unary' || kind === 'event';
}

function tracingOf(kind: RapCallKind): TracingChannel<unknown, object> {
  return isCall(kind) ? clientCall : clientChannel;
}

/** An attempt beyond the first. */
export class FurtherAttempt implements RapFurtherAttempt {
  outcome: string | undefined;
  error: unknown;
  /** What subscribers add to the header of the call; `undefined` if nothing. */
  header: Record<string, unknown> | undefined;

  private constructor(
    readonly call: RapClientOperation,
    readonly server: string,
    readonly number: number,
    readonly reason: string | undefined,
    readonly isHedge: boolean,
  ) {}

  /** Publishes the start of an attempt, if there are subscribers. `failure`: why the one before it has failed. */
  static start(
    call: RapClientOperation,
    { server, number, failure }: { server: string; number: number; failure: unknown },
  ): FurtherAttempt | undefined {
    if (!clientAttempt.hasSubscribers && !clientRetry.hasSubscribers) return undefined;
    const isHedge = failure === undefined;
    const reason = isHedge ? undefined : outcomeOf(failure);
    const attempt = new FurtherAttempt(call, server, number, reason, isHedge);
    clientRetry.publish(attempt);
    clientAttempt.start.publish(attempt);
    clientAttempt.end.publish(attempt);
    return attempt;
  }

  setHeader(key: string, value: unknown): void {
    assertFree(key);
    this.header = { ...this.header, [key]: value };
  }

  /** It has answered, or failed. */
  finish(error: unknown): void {
    this.error = error;
    if (error !== undefined) clientAttempt.error.publish(this);
    this.#over(outcomeOf(error));
  }

  /** Nobody waits for it any more. */
  giveUp(): void {
    this.#over(CANCELLED);
  }

  #over(outcome: string): void {
    this.outcome = outcome;
    clientAttempt.asyncStart.publish(this);
    clientAttempt.asyncEnd.publish(this);
  }
}

/** @throws RangeError for a header that only the protocol sets */
function assertFree(key: string): void {
  if (RESERVED.has(key)) throw new RangeError(`header "${key}" is reserved by rap`);
}
