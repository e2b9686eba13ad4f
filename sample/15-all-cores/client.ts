import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { RapClient } from 'nestjs-rap';

Logger.overrideLogger(['warn', 'error']);

const port = Number(process.argv[2] ?? 9000);
const CALLS = 400;
const workers = availableParallelism();

const single = new RapClient({ host: '127.0.0.1', port });
await run('one connection', single);

// the primary gives connections to its workers in turn: as many as there are workers reach all of them
const pooled = new RapClient({ host: '127.0.0.1', port, pool: { min: workers, max: workers } });
await pooled.connect();
while ((pooled.stats().endpoints?.[0]?.connections ?? 0) < workers) await sleep(10);
await run(`a pool of ${workers}`, pooled);

async function run(name: string, client: RapClient): Promise<void> {
  const served = new Map<number, number>();
  let left = CALLS;
  const caller = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const { pid } = await client.call<{ pid: number }>('primes', { below: 20_000 });
      served.set(pid, (served.get(pid) ?? 0) + 1);
    }
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: 32 }, caller));
  const perSecond = Math.round((CALLS * 1000) / (performance.now() - began));
  const shares = [...served.values()].map((calls, i) => `worker ${i + 1}: ${calls}`);
  console.log(`${`${name}:`.padEnd(16)} ${shares.join(', ')} (${perSecond} calls/s)`);
  client.close();
}
