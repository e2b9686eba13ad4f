import { performance } from 'node:perf_hooks';
import type { ClientMeasurement } from './measurement.js';
import { Reservoir } from './reservoir.js';
import { Stopwatch } from './stopwatch.js';

/** One of the loops that a scenario runs side by side: it starts a step as soon as the last one has ended. */
export interface Lane {
  step(): Promise<unknown>;
  /** Throws on a wrong answer. Called for every step, also for measured ones. */
  check(answer: unknown): void;
}

interface MeasureOptions {
  lanes: readonly Lane[];
  seconds: number;
  sampleEvery: number;
}

/** Keeps all lanes busy for the given time, then lets the last steps finish; they and their time count. */
export async function measure({ lanes, seconds, sampleEvery }: MeasureOptions): Promise<ClientMeasurement> {
  const latencies = new Reservoir();
  let steps = 0;
  const watch = new Stopwatch(seconds);

  const run = async (lane: Lane, index: number): Promise<void> => {
    // Lanes start out of phase, otherwise all of them would sample the same moment.
    let untilSample = index % sampleEvery;
    try {
      while (!watch.isOver) {
        if (untilSample > 0) {
          untilSample -= 1;
          lane.check(await lane.step());
        } else {
          untilSample = sampleEvery - 1;
          const startedAt = performance.now();
          const answer = await lane.step();
          latencies.add(performance.now() - startedAt);
          lane.check(answer);
        }
        steps += 1;
      }
    } finally {
      // The first lane to fail stops all.
      watch.isOver = true;
    }
  };

  try {
    await Promise.all(lanes.map(run));
  } finally {
    watch.stop();
  }
  return { steps, ...watch.stop(), ...latencies.summaryUs() };
}
