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

  /** It has ended, with this error if it has failed. Publishes that around `tell`, which tells the caller. */
  finish(now: number, error: unknown, tell?: () => void): void {
    this.error = error;
    this.#over(now, outcomeOf(error), tell);
  }

  /** Its own caller does not want it any more, which is no failure. */
  giveUp(now: number): void {
    this.#over(now, CANCELLED);
  }

  #over(now: number, outcome: string, tell?: () => void): void {
    if (this.isOver) return tell?.();
    this.outcome = outcome;
    this.durationMs = now - this.startedAt;
    const { tracing } = this;
    if (this.error !== undefined) tracing.error.publish(this);
    tracing.asyncStart.publish(this);
    try {
      tell?.();
    } finally {
      tracing.asyncEnd.publish(this);
    }
  }
}
