// Runs the server and the client of a sample as two processes, and ends when the client is done.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

/** Runs `server.js` and `client.js` of the folder of `mainUrl`. */
export async function runPair(mainUrl: string): Promise<void> {
  const file = (name: string): string => fileURLToPath(new URL(name, mainUrl));

  const server = fork(file('server.js'), ['0']); // a free port
  const failed = new AbortController();
  server.once('exit', () => failed.abort());
  const [{ port }] = (await once(server, 'message', { signal: failed.signal })) as [AddressInfo];
  console.log(`server: listening on port ${port}`);

  const client = fork(file('client.js'), [String(port)]);
  const [code] = (await once(client, 'exit')) as [number | null];

  server.kill('SIGTERM');
  await once(server, 'exit');
  console.log('server: stopped');
  process.exitCode = code ?? 1;
}
