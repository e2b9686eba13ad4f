export {
  RapHealthIndicator,
  type RapHealthIndicatorOptions,
  type RapHealthIndicatorResult,
} from './health/rap-health-indicator.js';
export { startProbes, type Probes, type StartProbesOptions } from './health/start-probes.js';
