import type { Scenario } from './scenario.js';
import { duplex, slowReader, stream, upload } from './stream-scenarios.js';
import { echo, observedSum, pluginEcho, pluginSum, sum } from './unary-scenarios.js';

export const scenarios = {
  seq: sum('1 call in flight', { lanes: 1, sampleEvery: 1 }),
  c64: sum('64 calls in flight', { lanes: 64, sampleEvery: 16 }),
  c1000: sum('1000 calls in flight', { lanes: 1000, sampleEvery: 16 }),
  echo1k: echo('1 KiB echo, 64 in flight', { bytes: 1024, lanes: 64, sampleEvery: 16 }),
  echo1m: echo('1 MiB echo, 4 in flight', { bytes: 1024 * 1024, lanes: 4, sampleEvery: 1 }),
  'c64-plugins': pluginSum('64 calls in flight, with plugins of rap', { lanes: 64, sampleEvery: 16 }),
  'c64-telemetry': observedSum('64 calls in flight, with metrics and traces', { lanes: 64, sampleEvery: 16 }),
  'echo256-plugins': pluginEcho('256-byte echo, 64 in flight, with plugins of rap', {
    bytes: 256,
    lanes: 64,
    sampleEvery: 16,
  }),
  stream: stream('Server stream of small integers'),
  upload: upload('Client stream of small integers'),
  duplex1: duplex('Duplex stream, 1 message in flight', { outstanding: 1, sampleEvery: 1 }),
  duplex64: duplex('Duplex stream, 64 messages in flight', { outstanding: 64, sampleEvery: 16 }),
  'slow-reader': slowReader('Server stream of 1 KiB strings, read at 1000 a second'),
} satisfies Record<string, Scenario>;

export type ScenarioName = keyof typeof scenarios;

export const scenarioNames = Object.keys(scenarios).filter(isScenarioName);

export function isScenarioName(name: string): name is ScenarioName {
  return Object.hasOwn(scenarios, name);
}
