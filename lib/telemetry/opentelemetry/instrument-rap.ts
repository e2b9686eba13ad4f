import {
  diag,
  type MeterProvider,
  metrics,
  propagation,
  trace,
  type TracerProvider,
} from '@opentelemetry/api';
import { assertOptionsOf } from '../../protocol/values/option-names.js';
import { sparingly, Subscriptions } from '../subscriptions.js';
import { CallMetrics } from './call-metrics.js';
import { ClientTelemetry } from './client-telemetry.js';
import { ServerTelemetry } from './server-telemetry.js';

/** Name of the instrumentation scope. */
const SCOPE = 'nestjs-rap';

/** Options of {@link instrumentRap}. */
export interface InstrumentRapOptions {
  /** Makes the spans. Default: the global one. */
  readonly tracerProvider?: TracerProvider | undefined;
  /** Makes the metrics. Default: the global one. */
  readonly meterProvider?: MeterProvider | undefined;
  /**
   * What the trace of a caller is to a server. `parent` (default): the span of the server belongs to it. `link`, for callers that
   * are not trusted: the server begins a trace of its own, with a link to the caller's, and drops its baggage.
   */
  readonly trust?: 'parent' | 'link' | undefined;
}

/**
 * Traces and measures all servers and clients of this process, from now on, by OpenTelemetry's conventions for RPC: a span for
 * each call, stream and channel, one child for each retry and hedge, and the histograms `rpc.client.call.duration` and
 * `rpc.server.call.duration` in seconds. The trace goes to the next service in the header of the call, by the global propagator.
 *
 * Call it after the SDK is started: it uses the SDK's global context manager and propagator.
 *
 * @returns what undoes it
 * @throws RangeError for an option that does not exist, or a `trust` that is neither `parent` nor `link`
 */
export function instrumentRap(options: InstrumentRapOptions = {}): () => void {
  assertOptionsOf('instrumentRap', options, { tracerProvider: true, meterProvider: true, trust: true });
  const { tracerProvider, meterProvider, trust = 'parent' } = options;
  if (trust !== 'parent' && trust !== 'link')
    throw new RangeError(`instrumentRap: trust must be 'parent' or 'link', not ${String(trust)}`);
  if (propagation.fields().length === 0)
    diag.warn('nestjs-rap: no propagator is set, so that traces end at each service; start the SDK first');
  const tracer = (tracerProvider ?? trace.getTracerProvider()).getTracer(SCOPE);
  const meter = (meterProvider ?? metrics.getMeterProvider()).getMeter(SCOPE);
  const clientMetrics = new CallMetrics(meter, 'client');
  const serverMetrics = new CallMetrics(meter, 'server');
  const subscriptions = new Subscriptions(
    sparingly((error) => diag.error('nestjs-rap: a call could not be traced', error)),
  );
  new ClientTelemetry(tracer, clientMetrics).subscribe(subscriptions);
  new ServerTelemetry(tracer, serverMetrics, trust).subscribe(subscriptions);
  return () => {
    subscriptions.end();
    clientMetrics.end();
    serverMetrics.end();
  };
}
