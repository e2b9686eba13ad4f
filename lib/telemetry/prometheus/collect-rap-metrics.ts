import type {
  RapClientOperation,
  RapFurtherAttempt,
  RapRefusal,
  RapServerOperation,
} from '../../diagnostics/messages.js';
import { assertOptionsOf } from '../../protocol/values/option-names.js';
import { MethodNames } from '../method-names.js';
import { sparingly, Subscriptions } from '../subscriptions.js';
import { CallSeries } from './call-series.js';
import { Counter } from './counter.js';
import { gauges } from './gauges.js';
import { TextMetric } from './text-metric.js';

/** Default of Prometheus' own client for Go, and so of go-grpc-middleware, in seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** The part of prom-client's `Registry` that is used. */
export interface MetricRegistry {
  registerMetric(metric: never): void;
  removeSingleMetric(name: string): void;
  getSingleMetric(name: string): unknown;
}

/** Options of {@link collectRapMetrics}. */
export interface CollectRapMetricsOptions {
  /** A registry of prom-client, such as its `register`. */
  readonly registry: MetricRegistry;
  /** Upper bounds of the buckets of `handling_seconds`, in seconds, ascending. Default: those of go-grpc-middleware. */
  readonly buckets?: readonly number[] | undefined;
}

/**
 * Counts what all servers and clients of this process do, from now on, in a registry of prom-client. Metrics have the names and
 * labels of go-grpc-middleware with the prefix `rap` for `grpc`; see docs/observability.md. Labels name functions as they were
 * registered: what a peer calls beyond that is `_OTHER`.
 *
 * @returns what undoes it
 * @throws RangeError for options that do not exist, or buckets that do not ascend; Error if the registry has such metrics already
 */
export function collectRapMetrics(options: CollectRapMetricsOptions): () => void {
  assertOptionsOf('collectRapMetrics', options, { registry: true, buckets: true });
  const { registry, buckets = BUCKETS } = options;
  if (typeof registry?.registerMetric !== 'function')
    throw new RangeError('collectRapMetrics.registry must be a Registry of prom-client');
  assertBuckets(buckets);
  const subscriptions = new Subscriptions(
    sparingly((error) => process.emitWarning(`a call could not be counted: ${String(error)}`, 'RapWarning')),
  );
  const metrics = [
    ...clientMetrics(subscriptions, buckets),
    ...serverMetrics(subscriptions, buckets),
    ...gauges(),
  ];
  const names = metrics.map(({ name }) => name);
  const taken = names.find((name) => registry.getSingleMetric(name) !== undefined);
  if (taken !== undefined) {
    subscriptions.end();
    throw new Error(`collectRapMetrics: the registry has ${taken} already; it was called twice for it`);
  }
  for (const metric of metrics) registry.registerMetric(metric as never);
  return () => {
    subscriptions.end();
    // a registry of OpenMetrics has changed those of the metrics
    for (const name of names) registry.removeSingleMetric(name);
  };
}

function serverMetrics(to: Subscriptions, buckets: readonly number[]): TextMetric[] {
  const names = new MethodNames();
  const calls = new CallSeries(buckets);
  const refusals = new Counter<{ what: string; reason: string }>();
  for (const name of ['rap.server.call', 'rap.server.channel']) {
    to.add<RapServerOperation>(`tracing:${name}:start`, (it) => calls.started(it, names.served(it)));
    to.add<RapServerOperation>(`tracing:${name}:asyncEnd`, (it) => calls.ended(it));
  }
  to.add<RapRefusal>('rap.server.refusal', ({ what, reason }) => refusals.count({ what, reason }));
  const help = 'Calls, channels and connections that were refused before a handler began, by reason';
  return [
    ...calls.metrics('server'),
    new TextMetric('rap_server_refused_total', 'counter', help, () => refusals.values()),
  ];
}

function clientMetrics(to: Subscriptions, buckets: readonly number[]): TextMetric[] {
  const names = new MethodNames();
  const calls = new CallSeries(buckets);
  const attempts = new Counter<{ rap_group: string; rap_method: string; reason: string }>();
  const ejections = new Counter<Record<string, never>>();
  for (const name of ['rap.client.call', 'rap.client.channel']) {
    to.add<RapClientOperation>(`tracing:${name}:start`, (it) => calls.started(it, names.called(it)));
    to.add<RapClientOperation>(`tracing:${name}:asyncEnd`, (it) => calls.ended(it));
  }
  to.add<RapFurtherAttempt>('rap.client.retry', ({ call, reason = 'HEDGE' }) => {
    const { group, name } = names.called(call);
    attempts.count({ rap_group: group, rap_method: name, reason });
  });
  to.add('rap.client.ejection', () => ejections.count({}));
  return [
    ...calls.metrics('client'),
    new TextMetric(
      'rap_client_attempts_total',
      'counter',
      'Attempts beyond the first, by why the one before failed; HEDGE for one beside it',
      () => attempts.values(),
    ),
    new TextMetric('rap_client_ejections_total', 'counter', 'Servers that were ejected', () =>
      ejections.values(),
    ),
  ];
}

/** @throws RangeError unless they are finite and ascend */
function assertBuckets(buckets: readonly number[]): void {
  const isSound =
    Array.isArray(buckets) &&
    buckets.length > 0 &&
    buckets.every((bound, at) => Number.isFinite(bound) && (at === 0 || bound > (buckets[at - 1] as number)));
  if (!isSound) throw new RangeError('collectRapMetrics.buckets must be numbers that ascend, in seconds');
}
