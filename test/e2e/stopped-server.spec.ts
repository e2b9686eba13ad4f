import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { once } from 'node:events';
import { RapClient } from '../../lib/index.js';
import { testScope } from '../helpers/async.js';
import { compile, type Compiled } from '../helpers/compiled.js';

const scope = testScope();
const source = 'test/e2e/fixtures/echo-server.ts';
let compiled: Compiled;
beforeAll(async () => {
  compiled = await compile([source]);
}, 60_000);
afterAll(() => compiled.remove());

async function startServer(): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(process.execPath, [compiled.path(source)], { stdio: ['ignore', 'pipe', 'inherit'] });
  scope.defer(async () => {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  return { child, port: Number(line) };
}

it('a process that is stopped loses what is in flight there, all of it as unknown, and is used again when it goes on', async () => {
  const { child, port } = await startServer();
  const client = new RapClient({
    host: '127.0.0.1',
    port,
    callTimeoutMs: 60_000,
    keepAlive: { busyIntervalMs: 200, busyTimeoutMs: 1_500 },
  });
  scope.defer(() => client.close());
  const ends: string[] = [];
  client.on('disconnect', () => ends.push('disconnect'));
  expect(await client.call('echo', 1)).toBe(1);
  const stream = client.stream<number>('stream', {})[Symbol.asyncIterator]();
  expect(await stream.next()).toMatchObject({ value: 0 });
  const calls = Array.from({ length: 100 }, () => client.call('hold', {}));
  expect(await client.call('echo', 2)).toBe(2); // the others are there
  child.kill('SIGSTOP');
  const outcomes = await Promise.allSettled([stream.next(), ...calls]);
  expect(outcomes).toHaveLength(101);
  for (const outcome of outcomes)
    expect(outcome).toMatchObject({
      status: 'rejected',
      reason: { name: 'ConnectionLostError', sent: 'unknown' },
    });
  const next = client.call('echo', 3); // waits for the process
  child.kill('SIGCONT');
  expect(await next).toBe(3);
  expect(ends).toEqual(['disconnect']);
}, 60_000);
