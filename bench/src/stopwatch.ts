import { performance } from 'node:perf_hooks';
import { ownCpuUs } from './usage.js';

export interface Lap {
  seconds: number;
  cpuUs: number;
}

/** Says when a run is over, and measures its time and the CPU time of this process. Stop it, otherwise its timer stays. */
export class Stopwatch {
  /** Whether the requested time is over. */
  isOver = false;

  private readonly startedAt = performance.now();
  private readonly cpuBeforeUs = ownCpuUs();
  private readonly timer: NodeJS.Timeout;
  private lap: Lap | undefined;

  constructor(seconds: number) {
    this.timer = setTimeout(() => (this.isOver = true), seconds * 1000);
  }

  get elapsedMs(): number {
    return performance.now() - this.startedAt;
  }

  /** The times up to the first call of this. */
  stop(): Lap {
    clearTimeout(this.timer);
    this.isOver = true;
    this.lap ??= { seconds: this.elapsedMs / 1000, cpuUs: ownCpuUs() - this.cpuBeforeUs };
    return this.lap;
  }
}
