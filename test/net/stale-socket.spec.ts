import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SocketServer } from '../../lib/net/socket-server.js';
import { systemClock } from '../../lib/rpc/time/system-clock.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';

const LISTENER = `require('node:net').createServer((s) => s.on('error', () => {}).end('here')).listen(process.argv[1], () => console.log('up'))`;

let folder: string;
let path: string;
const children: ChildProcess[] = [];
const servers: SocketServer[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rap-'));
  path = join(folder, 'socket');
});
afterEach(async () => {
  for (const child of children.splice(0)) await kill(child);
  for (const server of servers.splice(0)) await server.close();
  rmSync(folder, { recursive: true });
});

/** Another process that listens on the path. */
async function listener(at = path): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['-e', LISTENER, at], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  await once(child.stdout as NodeJS.EventEmitter, 'data');
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

function serverOn(at = path): SocketServer {
  const server = new SocketServer({
    limits: DEFAULT_LIMITS,
    clock: systemClock,
    onLink: () => {},
    onError: () => {},
    endpoint: { path: at },
  });
  servers.push(server);
  return server;
}

/** What the server that listens on the path says. */
async function greeting(): Promise<string> {
  const socket = createConnection(path);
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}

it('takes over the file of a process that was killed', async () => {
  await kill(await listener());
  expect(lstatSync(path).isSocket()).toBe(true);

  expect(await serverOn().listen()).toBe(path);

  const socket = createConnection(path);
  await once(socket, 'connect');
  socket.destroy();
});

it('leaves a file to the process that listens on it', async () => {
  await listener();

  await expect(serverOn().listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });

  expect(await greeting()).toBe('here');
});

it('leaves a file that is not a socket', async () => {
  writeFileSync(path, 'precious');

  await expect(serverOn().listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });

  expect(readFileSync(path, 'utf8')).toBe('precious');
});

it('leaves a link, also one to a socket that nobody listens on', async () => {
  const target = join(folder, 'target');
  await kill(await listener(target));
  symlinkSync(target, path);

  await expect(serverOn().listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });

  expect(lstatSync(path).isSymbolicLink()).toBe(true);
  expect(lstatSync(target).isSocket()).toBe(true);
});

it('gives the file of a killed process to one of several servers that start at once', async () => {
  await kill(await listener());

  const starts = await Promise.allSettled([serverOn(), serverOn(), serverOn()].map((it) => it.listen()));

  expect(starts.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected', 'rejected']);
  const socket = createConnection(path);
  await once(socket, 'connect');
  socket.destroy();
});

it('fails as Node does if the folder does not exist', async () => {
  await expect(serverOn(join(folder, 'none', 'socket')).listen()).rejects.toMatchObject({ code: 'EACCES' });
});
