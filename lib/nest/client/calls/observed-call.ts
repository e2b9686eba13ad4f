import type { RapCallKind } from '../../../diagnostics/messages.js';
import { MadeOperation } from '../../../diagnostics/made-operation.js';
import type { Clock } from '../../../protocol/clock.js';
import type { Channel } from '../../../rpc/channel/channel.js';
import type { Outcome } from './client-attempt.js';
import type { CallPlan } from './client-routes.js';

/** Publishes the start of what is planned, then makes it, with the header that subscribers have made. */
export function observed<K extends RapCallKind, T>(
  { kind, plan, where, clock }: { kind: K; plan: CallPlan; where: string; clock: Clock },
  make: (plan: CallPlan, operation: MadeOperation<K>) => T,
): T {
  const operation = new MadeOperation(kind, plan.route.target, plan.header, where, clock.now());
  return operation.run(() => {
    const { header } = operation;
    try {
      return make(header === plan.header ? plan : { ...plan, header, encodedHeader: undefined }, operation);
    } catch (error) {
      operation.finish(clock.now(), error);
      throw error;
    }
  });
}

/** Observes the outcome of a call, whose start was published. */
export class ObservedOutcome<T> implements Outcome<T> {
  readonly stream: Outcome<T>['stream'];

  constructor(
    private readonly outcome: Outcome<T>,
    private readonly operation: MadeOperation,
    private readonly clock: Clock,
  ) {
    this.stream = outcome.stream && ((channel) => this.#stream(channel));
  }

  get isPromise(): boolean {
    return this.outcome.isPromise === true;
  }

  resolve(value: T): void {
    const { operation, outcome, clock } = this;
    const isFirst = operation.settling(clock.now(), undefined);
    try {
      outcome.resolve(value);
    } finally {
      if (isFirst) operation.settled();
    }
  }

  reject(error: unknown): void {
    const { operation, outcome, clock } = this;
    const isFirst = operation.settling(clock.now(), error);
    try {
      outcome.reject(error);
    } finally {
      if (isFirst) operation.settled();
    }
  }

  /** The caller has given the call up, or it has never begun. */
  abandoned(): void {
    if (this.operation.channel) return; // its end tells how it went
    this.operation.giveUp(this.clock.now());
  }

  #stream(channel: Channel): void {
    observeChannel(channel, this.operation, this.clock);
    this.outcome.stream?.(channel);
  }
}

/** Observes a channel up to its end. A stream whose reader leaves it has not failed. */
export function observeChannel(channel: Channel, operation: MadeOperation, clock: Clock): void {
  operation.channel = channel;
  channel.whenDone(() => {
    const isLeft = !channel.fault && !channel.closedByPeer && operation.kind !== 'channel';
    if (isLeft) operation.giveUp(clock.now());
    else operation.finish(clock.now(), channel.fault);
  });
}
