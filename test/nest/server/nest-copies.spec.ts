import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ParseError, RapClient, ServerError } from '../../../lib/index.js';
import { eventually, rejection, testScope } from '../../helpers/async.js';
import { compile, type Compiled } from '../../helpers/compiled.js';

const scope = testScope();
const source = 'test/nest/server/fixtures/copies-app.ts';
const modules = fileURLToPath(new URL('../../../node_modules/', import.meta.url));
let compiled: Compiled;
beforeAll(async () => {
  compiled = await compile([source]);
}, 60_000);
afterAll(() => compiled.remove());

interface Started {
  readonly client: RapClient;
  readonly output: () => string;
}

async function start(): Promise<Started> {
  const child: ChildProcess = spawn(process.execPath, [compiled.path(source)]);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (output += String(chunk)));
  scope.defer(async () => {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  });
  await eventually('the start', () => /port \d+/.test(output) || child.exitCode !== null);
  const port = Number(/port (\d+)/.exec(output)?.[1]);
  const client = new RapClient({ host: '127.0.0.1', port });
  scope.defer(() => client.close());
  return { client, output: () => output };
}

const WARNING = 'the application has a copy of @nestjs/microservices of its own';

it('an application with a Nest of its own gets its own errors and items, and a warning', async () => {
  const own = join(dirname(compiled.path(source)), 'node_modules');
  scope.defer(() => rm(own, { recursive: true }));
  for (const name of ['@nestjs/common', '@nestjs/core', '@nestjs/microservices', 'rxjs'])
    await cp(join(modules, name), join(own, name), { recursive: true });

  const { client, output } = await start();

  expect(output().split(WARNING)).toHaveLength(2);
  expect(output()).toContain(join(own, '@nestjs/microservices/listeners-controller.js'));
  expect(output()).not.toContain('cannot be adapted');
  const parse = await rejection(client.call('rap'));
  expect(parse).toBeInstanceOf(ParseError);
  expect(parse).toMatchObject({ message: 'no number', details: { a: 1 } });
  expect(await rejection(client.call('rpc'))).toMatchObject({ status: 404, message: 'no user 7' });
  expect(await rejection(client.call('http'))).toMatchObject({ httpStatus: 404, message: 'no user 8' });
  const masked = await rejection(client.call('unknown'));
  expect(masked).toBeInstanceOf(ServerError);
  expect(masked.message).toBe('Internal server error');
  const items: unknown[] = [];
  for await (const item of client.stream('count')) items.push(item);
  expect(items).toEqual([
    [1, 1],
    [2, 2],
  ]);
});

it('an application with the Nest of this package gets no warning', async () => {
  const { client, output } = await start();

  expect(await rejection(client.call('rap'))).toBeInstanceOf(ParseError);
  expect(output()).not.toContain(WARNING);
});
