import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let collectGarbage: (() => void) | undefined;
let collectingUs = 0;

/** CPU time of this process in microseconds, without that of {@link liveBytes}. */
export function ownCpuUs(): number {
  return cpuUs() - collectingUs;
}

/** Bytes in live objects and buffers of this process. Garbage is collected first, otherwise it would dominate. */
export function liveBytes(): number {
  const before = cpuUs();
  collectGarbage ??= exposeGarbageCollector();
  collectGarbage();
  collectingUs += cpuUs() - before;
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function exposeGarbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('gc');
  if (typeof gc !== 'function') throw new Error('This Node.js does not expose its garbage collector');
  return () => void gc();
}

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
