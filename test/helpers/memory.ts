import { turn } from './async.js';

/** Heap in use after a collection, in bytes. */
export async function heapUsed(): Promise<number> {
  await collectGarbage();
  return process.memoryUsage().heapUsed;
}

/** Memory of buffers in use after a collection, in bytes. */
export async function buffersUsed(): Promise<number> {
  await collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

async function collectGarbage(): Promise<void> {
  const { setFlagsFromString } = await import('node:v8');
  const { runInNewContext } = await import('node:vm');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let i = 0; i < 3; i++) {
    await turn();
    collect();
  }
}
