import { setTimeout } from 'node:timers/promises';
import { RapClient } from 'nestjs-rap';

const client = new RapClient({ host: 'localhost', port: Number(process.argv[2] ?? 9000) });

/** Calls `ping` every 5 ms until the work is done, and measures the latency. */
async function pingBeside(what: string, work: Promise<unknown>): Promise<void> {
  const times: number[] = [];
  const state = { isDone: false };
  const done = work.finally(() => (state.isDone = true));
  while (!state.isDone) {
    const started = performance.now();
    await client.call('ping');
    times.push(performance.now() - started);
    await setTimeout(5);
  }
  await done;
  times.sort((a, b) => a - b);
  const at = (part: number): string => `${(times[Math.floor(times.length * part)] ?? 0).toFixed(1)} ms`;
  console.log(`${what}: ${times.length} pings, p50 ${at(0.5)}, p99 ${at(0.99)}`);
}

for (let i = 0; i < 200; i++) await client.call('ping'); // warm up
await client.call('burn', { ms: 1 }); // the thread starts

await pingBeside('beside 2 s in a worker thread', client.call('burn', { ms: 2000 }));
await pingBeside('beside 2 s on the event loop ', client.call('burn_here', { ms: 2000 }));

const started = performance.now();
await client.call('burn', { ms: 5000 }, { timeoutMs: 100 }).catch((error: Error) => {
  console.log(`5 s of work with 100 ms to do it: ${error.name}; the thread is stopped`);
});
await client.call('burn', { ms: 1 });
console.log(`the next call is done in time: ${performance.now() - started < 4000}`);
client.close();
