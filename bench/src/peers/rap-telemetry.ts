import { context, type MeterProvider as Meters, propagation, type TracerProvider } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  AlwaysOnSampler,
  BasicTracerProvider,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-base';
import { instrumentRap } from 'nestjs-rap/opentelemetry';
import { collectRapMetrics } from 'nestjs-rap/prometheus';
import { Registry } from 'prom-client';
import type { Peer } from '../peer.js';
import { StringPatternController } from './nest-module.js';
import { rapPeer } from './rap.js';

/** `client.call()` that is observed on both sides: what that costs is the ratio to `rap-call`. */
function observed(observe: () => void): Peer {
  let isObserved = false;
  return rapPeer(
    StringPatternController,
    (client) => ({ unary: (name, body) => client.call(name, body) }),
    () => {
      if (!isObserved) observe();
      isObserved = true;
      return {};
    },
  );
}

/** Takes spans as an exporter would, and drops them: its network is not measured. */
const nowhere = {
  export: (_: unknown, done: (result: { code: number }) => void): void => done({ code: 0 }),
  shutdown: () => Promise.resolve(),
};

function tracer(sampler: Sampler): TracerProvider {
  return new BasicTracerProvider({ sampler, spanProcessors: [new BatchSpanProcessor(nowhere)] });
}

function meters(): Meters {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  return new MeterProvider({
    readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 1e8 })],
  });
}

function startSdk(sampler: Sampler): void {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(
    new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] }),
  );
  instrumentRap({ tracerProvider: tracer(sampler), meterProvider: meters() });
}

export const rapPrometheus = observed(() => void collectRapMetrics({ registry: new Registry() }));

/** As production samples: one trace of a hundred. */
export const rapTraced = observed(() =>
  startSdk(new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(0.01) })),
);

export const rapTracedAll = observed(() => startSdk(new AlwaysOnSampler()));
