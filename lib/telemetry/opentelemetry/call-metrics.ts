import type { Attributes, Histogram, Meter, ObservableResult } from '@opentelemetry/api';
import type { RapOperation } from '../../diagnostics/messages.js';
import { MessageTotals, type Totals } from '../message-totals.js';
import type { MethodName } from '../method-names.js';
import { methodOf } from './attributes.js';

/** Boundaries of the convention, in seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** The messages of one function. */
interface Series extends Totals {
  readonly name: MethodName;
}

/** Durations and messages of the calls of one side. */
export class CallMetrics {
  readonly #durations: Histogram;
  readonly #messages = new MessageTotals<Series>();
  readonly #series = new Map<MethodName, Series>();
  readonly #undo: () => void;

  constructor(meter: Meter, side: 'client' | 'server') {
    this.#durations = meter.createHistogram(`rpc.${side}.call.duration`, {
      description: `Measures the duration of an ${side === 'client' ? 'outgoing' : 'incoming'} Remote Procedure Call (RPC).`,
      unit: 's',
      advice: { explicitBucketBoundaries: BUCKETS },
    });
    const sent = meter.createObservableCounter(`rap.${side}.messages.sent`, {
      description: 'Messages that were sent for calls, streams and channels, parameters and answers included',
      unit: '{message}',
    });
    const received = meter.createObservableCounter(`rap.${side}.messages.received`, {
      description:
        'Messages that were received for calls, streams and channels, parameters and answers included',
      unit: '{message}',
    });
    const tellSent = (result: ObservableResult): void => this.#tell(result, 'sent');
    const tellReceived = (result: ObservableResult): void => this.#tell(result, 'received');
    sent.addCallback(tellSent);
    received.addCallback(tellReceived);
    this.#undo = () => {
      sent.removeCallback(tellSent);
      received.removeCallback(tellReceived);
    };
  }

  started(operation: RapOperation, name: MethodName): void {
    this.#messages.started(operation, this.#of(name));
  }

  ended(operation: RapOperation, name: MethodName, attributes: Attributes): void {
    this.#messages.ended(operation, this.#of(name));
    this.#durations.record((operation.durationMs ?? 0) / 1000, attributes);
  }

  end(): void {
    this.#undo();
  }

  #tell(result: ObservableResult, what: 'sent' | 'received'): void {
    for (const [{ name }, totals] of this.#messages.totals()) result.observe(totals[what], methodOf(name));
  }

  #of(name: MethodName): Series {
    let series = this.#series.get(name);
    if (!series) this.#series.set(name, (series = { name, sent: 0, received: 0 }));
    return series;
  }
}
