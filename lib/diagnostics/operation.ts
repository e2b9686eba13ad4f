import type { TracingChannel } from 'node:diagnostics_channel';
import type { RapCallKind, RapOperation } from './messages.js';
import { CANCELLED, outcomeOf } from './outcome.js';

/** Messages of an open channel up to now. */
export interface MessageCounts {
  readonly sentCount: number;
  readonly receivedCount: number;
}

/** What both sides publish: it is made only if a tracing channel has subscribers. */
export abstract class Operation implements RapOperation {
  abstract readonly kind: RapCallKind;
  durationMs: number | undefined;
  outcome: string | undefined;
  error: unknown;
  /** The channel of a stream or channel, once there is one. */
  channel: MessageCounts | undefined;
  /** Whether `start` is published now: what subscribers set counts. */
  protected isStarting = true;

  protected constructor(
    private readonly tracing: TracingChannel<unknown, object>,
    readonly target: string,
    private readonly startedAt: number,
  ) {}

  abstract readonly messagesSent: number;
  abstract readonly messagesReceived: number;

  get isOver(): boolean {
    return this.outcome !== undefined;
  }

  /** Publishes the start, then runs work in the scope of what subscribers have bound to it. */
  protected begin<T>(work: () => T): T {
    const { tracing } = this;
    try {
      return tracing.start.runStores(this, () => {
        this.isStarting = false;
        return work();
      });
    } finally {
      tracing.end.publish(this);
    }
  }

  /** It has ended, with this error if it has failed. */
  finish(now: number, error: unknown): void {
    if (this.settling(now, error)) this.settled();
  }

  /** Its own caller does not want it any more, which is no failure. */
  giveUp(now: number): void {
    if (this.isOver) return;
    this.#settle(now, CANCELLED);
    this.settled();
  }

  /** As {@link finish}, before the caller is told; {@link settled} follows. False if it has ended before. */
  settling(now: number, error: unknown): boolean {
    if (this.isOver) return false;
    this.error = error;
    this.#settle(now, outcomeOf(error));
    return true;
  }

  /** The caller was told. */
  settled(): void {
    this.tracing.asyncEnd.publish(this);
  }

  #settle(now: number, outcome: string): void {
    this.outcome = outcome;
    this.durationMs = now - this.startedAt;
    if (this.error !== undefined) this.tracing.error.publish(this);
    this.tracing.asyncStart.publish(this);
  }
}
