import { type ChildProcess, fork } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as pass } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { RapClient, RapServer } from 'nestjs-rap';

/**
 * How soon a client is served again after its server was killed and started again 2 s later.
 *
 *     node bench/dist/restart.js [--rounds 30] [--host 127.0.0.1]
 */

const DOWN_MS = 2_000;

/** Wall time, for moments of two processes. */
const now = (): number => performance.timeOrigin + performance.now();

if (process.send) await serve(Number(process.argv[2]), process.argv[3] ?? '');
else await measure();

async function serve(port: number, host: string): Promise<void> {
  const server = new RapServer({ host, port });
  server.addHandler('echo', (body: unknown) => Promise.resolve(body));
  await new Promise<void>((resolve, reject) =>
    server.listen((error?: unknown) => (error ? reject(error) : resolve())),
  );
  process.send?.({ listensAt: now() });
  process.once('disconnect', () => process.exit());
}

async function measure(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '30' },
      host: { type: 'string', default: '127.0.0.1' },
    },
  });
  const { host } = values;
  const port = await freePort(host);
  const client = new RapClient({ host, port });
  let sockets = 0;
  subscribe('net.client.socket', () => (sockets += 1));
  const sinceListening: number[] = [];
  const sinceSpawned: number[] = [];
  const perSecond: number[] = [];
  let server = await started(port, host);
  await client.call('echo', 0);
  for (let round = 0; round < Number(values.rounds); round++) {
    await pass(1_000 * (round % 3)); // connections of several ages
    await killed(server.child);
    const before = sockets;
    await pass(DOWN_MS);
    perSecond.push((sockets - before) / (DOWN_MS / 1000));
    const spawnedAt = now();
    const starting = started(port, host);
    await client.call('echo', round, { timeoutMs: 60_000 });
    const servedAt = now();
    server = await starting;
    sinceListening.push(servedAt - server.listensAt);
    sinceSpawned.push(servedAt - spawnedAt);
  }
  await client.close();
  await killed(server.child);
  console.log(`host ${host}, ${values.rounds} rounds, ${DOWN_MS} ms down`);
  console.log(`first success after it listens: ${summary(sinceListening)}`);
  console.log(`first success after it is started: ${summary(sinceSpawned)}`);
  console.log(`sockets a second meanwhile: ${summary(perSecond)}`);
}

async function started(port: number, host: string): Promise<{ child: ChildProcess; listensAt: number }> {
  const child = fork(fileURLToPath(import.meta.url), [String(port), host]);
  const [{ listensAt }] = (await once(child, 'message')) as [{ listensAt: number }];
  return { child, listensAt };
}

async function killed(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

async function freePort(host: string): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('a server without a port');
  return address.port;
}

function summary(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): string =>
    (sorted[Math.floor(share * (sorted.length - 1))] as number).toFixed(1);
  return `median ${at(0.5)}, p90 ${at(0.9)}, max ${at(1)}`;
}
