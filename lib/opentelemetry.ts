export { instrumentRap, type InstrumentRapOptions } from './telemetry/opentelemetry/instrument-rap.js';
