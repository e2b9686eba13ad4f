export {
  collectRapMetrics,
  type CollectRapMetricsOptions,
  type MetricRegistry,
} from './telemetry/prometheus/collect-rap-metrics.js';
