import type { RapCallKind, RapOperation } from '../../diagnostics/messages.js';
import { MessageTotals, type Totals } from '../message-totals.js';
import type { MethodName } from '../method-names.js';
import { Slot } from '../slot.js';
import { type MetricValue, TextMetric } from './text-metric.js';

/** Names of kinds in labels: those that dashboards of gRPC know, and `event`. */
const TYPES: Readonly<Record<RapCallKind, string>> = {
  unary: 'unary',
  stream: 'server_stream',
  channel: 'bidi_stream',
  event: 'event',
};

type Labels = Readonly<Record<'rap_type' | 'rap_group' | 'rap_method', string>>;

/** What is counted of one function and kind. */
class Series implements Totals {
  sent = 0;
  received = 0;
  started = 0;
  readonly handled = new Map<string, number>();
  /** Calls by the bucket of their duration; the last: longer than all. */
  readonly durations: number[];
  seconds = 0;

  constructor(
    readonly labels: Labels,
    buckets: number,
  ) {
    this.durations = Array.from({ length: buckets + 1 }, () => 0);
  }
}

/** Counts the calls of one side, by function and kind. */
export class CallSeries {
  readonly #series = new Map<MethodName, Map<RapCallKind, Series>>();
  readonly #seriesOf = new Slot<RapOperation, Series>('series');
  readonly #messages = new MessageTotals<Series>();

  /** @param buckets upper bounds of durations in seconds, ascending */
  constructor(private readonly buckets: readonly number[]) {}

  started(operation: RapOperation, name: MethodName): void {
    const series = this.#of(name, operation.kind);
    series.started += 1;
    this.#seriesOf.set(operation, series);
    this.#messages.started(operation, series);
  }

  ended(operation: RapOperation): void {
    const series = this.#seriesOf.get(operation);
    if (!series) return; // it began before this was on
    const { outcome = '', durationMs = 0 } = operation;
    this.#messages.ended(operation, series);
    const seconds = durationMs / 1000;
    const { buckets } = this;
    let bucket = 0;
    while (bucket < buckets.length && seconds > (buckets[bucket] as number)) bucket += 1;
    series.durations[bucket]! += 1;
    series.seconds += seconds;
    series.handled.set(outcome, (series.handled.get(outcome) ?? 0) + 1);
  }

  #of(name: MethodName, kind: RapCallKind): Series {
    let kinds = this.#series.get(name);
    if (!kinds) this.#series.set(name, (kinds = new Map()));
    let series = kinds.get(kind);
    if (!series) {
      const labels = { rap_type: TYPES[kind], rap_group: name.group, rap_method: name.name };
      kinds.set(kind, (series = new Series(labels, this.buckets.length)));
    }
    return series;
  }

  /** The metrics, by names as go-grpc-middleware has them. */
  metrics(side: 'client' | 'server'): TextMetric[] {
    const name = (what: string): string => `rap_${side}_${what}`;
    const where = side === 'client' ? 'by the client' : 'by the server';
    const seconds = name('handling_seconds');
    return [
      new TextMetric(
        name('started_total'),
        'counter',
        `Calls, streams, channels and events that were started ${where}`,
        () => this.#each(({ labels, started }) => [{ labels, value: started }]),
      ),
      new TextMetric(
        name('handled_total'),
        'counter',
        `The same that have ended ${where}, by their outcome`,
        () =>
          this.#each(({ labels, handled }) =>
            Array.from(handled, ([code, value]) => ({ labels: { ...labels, rap_code: code }, value })),
          ),
      ),
      new TextMetric(name('msg_received_total'), 'counter', `Messages that were received ${where}`, () =>
        this.#counted('received'),
      ),
      new TextMetric(name('msg_sent_total'), 'counter', `Messages that were sent ${where}`, () =>
        this.#counted('sent'),
      ),
      new TextMetric(seconds, 'histogram', `Time from start to end ${where}, in seconds`, () =>
        this.#each((series) => this.#histogram(seconds, series)),
      ),
    ];
  }

  #counted(what: 'sent' | 'received'): MetricValue[] {
    return Array.from(this.#messages.totals(), ([{ labels }, totals]) => ({ labels, value: totals[what] }));
  }

  #histogram(name: string, { labels, durations, seconds }: Series): MetricValue[] {
    const bounds = [...this.buckets.map(String), '+Inf'];
    let count = 0;
    const buckets = bounds.map((le, index) => {
      count += durations[index] ?? 0;
      return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
    });
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels, value: seconds },
      { metricName: `${name}_count`, labels, value: count },
    ];
  }

  #each(values: (series: Series) => MetricValue[]): MetricValue[] {
    return [...this.#series.values()].flatMap((kinds) => [...kinds.values()].flatMap(values));
  }
}
