// Runs the server and the client as two processes, as they would be, and ends when the client is done.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

const server = fork(file('server.js'));
const [{ port }] = (await once(server, 'message')) as [AddressInfo];
console.log(`server: listening on port ${port}`);

const client = fork(file('client.js'), [String(port)]);
const [code] = (await once(client, 'exit')) as [number | null];

server.kill('SIGTERM');
await once(server, 'exit');
console.log('server: stopped');
process.exitCode = code ?? 1;
