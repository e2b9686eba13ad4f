import { performance } from 'node:perf_hooks';
import { Reservoir } from './reservoir.js';
import type { Lane } from './scenarios.js';

export interface ClientMeasurement {
  steps: number;
  seconds: number;
  p50Us: number;
  p99Us: number;
  cpuUs: number;
}

const FIELDS = ['steps', 'seconds', 'p50Us', 'p99Us', 'cpuUs'] as const satisfies (keyof ClientMeasurement)[];

/** For the process that receives one. */
export function isClientMeasurement(value: unknown): value is ClientMeasurement {
  if (typeof value !== 'object' || value === null) return false;
  const fields: Partial<Record<string, unknown>> = { ...value };
  return FIELDS.every((field) => typeof fields[field] === 'number');
}

interface MeasureOptions {
  lanes: readonly Lane[];
  seconds: number;
  sampleEvery: number;
}

/** Keeps all lanes busy for the given time, then lets the last steps finish: they count, as does their time. */
export async function measure({ lanes, seconds, sampleEvery }: MeasureOptions): Promise<ClientMeasurement> {
  const latenciesMs = new Reservoir();
  let steps = 0;
  const state = { running: true };

  const run = async (lane: Lane, index: number): Promise<void> => {
    // Lanes start out of phase, or they would all take their sample of the same moment.
    let untilSample = index % sampleEvery;
    try {
      while (state.running) {
        if (untilSample > 0) {
          untilSample -= 1;
          lane.check(await lane.step());
        } else {
          untilSample = sampleEvery - 1;
          const startedAt = performance.now();
          const answer = await lane.step();
          latenciesMs.add(performance.now() - startedAt);
          lane.check(answer);
        }
        steps += 1;
      }
    } finally {
      // The first lane to fail stops all.
      state.running = false;
    }
  };

  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const timer = setTimeout(() => (state.running = false), seconds * 1000);
  try {
    await Promise.all(lanes.map(run));
  } finally {
    clearTimeout(timer);
  }
  const elapsedMs = performance.now() - startedAt;
  const cpu = process.cpuUsage(cpuBefore);

  const [p50 = Number.NaN, p99 = Number.NaN] = latenciesMs.quantiles([0.5, 0.99]);
  return {
    steps,
    seconds: elapsedMs / 1000,
    p50Us: p50 * 1000,
    p99Us: p99 * 1000,
    cpuUs: cpu.user + cpu.system,
  };
}
