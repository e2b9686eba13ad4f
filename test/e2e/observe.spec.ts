import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { gunzipSync } from 'node:zlib';
import { RapClient } from '../../lib/index.js';
import { eventually, rejection, testScope } from '../helpers/async.js';
import { freePort } from '../helpers/ports.js';
import { compile, type Compiled } from '../helpers/compiled.js';

/** A call as @nestjs/observe reports it. */
interface Snapshot {
  /** Protocol. */
  readonly p: string;
  /** Operation. */
  readonly op: string;
  /** Spans: class, method, error, children. */
  readonly t: readonly Span[];
}

interface Span {
  readonly c: string;
  readonly m: string;
  readonly e?: { readonly message: string };
  readonly ch?: readonly Span[];
}

const scope = testScope();
const source = 'test/e2e/fixtures/observe-app.ts';
const caller = 'test/e2e/fixtures/observe-client-app.ts';
let compiled: Compiled;
beforeAll(async () => {
  compiled = await compile([source, caller]);
}, 60_000);
afterAll(() => compiled.remove());

/** Takes what the agent sends. */
async function collect(): Promise<{ endpoint: string; snapshots: Snapshot[] }> {
  const snapshots: Snapshot[] = [];
  const collector = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const bytes = Buffer.concat(chunks);
      const text = request.headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes;
      const sent = JSON.parse(text.toString()) as { snapshots?: Snapshot[] };
      snapshots.push(...(sent.snapshots ?? []));
      response.end('{}');
    });
  }).listen(0, '127.0.0.1');
  await once(collector, 'listening');
  scope.defer(() => {
    collector.closeAllConnections();
    collector.close();
  });
  return { endpoint: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`, snapshots };
}

/** Starts an application. Returns a client of it. */
async function start(app: string, ...args: string[]): Promise<RapClient> {
  const child = spawn(process.execPath, [compiled.path(app), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  scope.defer(() => child.kill('SIGKILL'));
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const client = new RapClient({ host: '127.0.0.1', port: Number(line.replace('listening ', '')) });
  scope.defer(() => client.close());
  return client;
}

it('@nestjs/observe sees every call under its pattern, with the spans of the handler and its error', async () => {
  const { endpoint, snapshots } = await collect();
  const client = await start(source, endpoint);

  expect(await client.call('sum', { a: 1, b: 2 })).toBe(3);
  const items: number[] = [];
  for await (const item of client.stream<number>('count', { n: 3 })) items.push(item);
  expect(items).toEqual([0, 1, 2]);
  await rejection(client.call('fail'));

  await eventually('all are reported', () => snapshots.length >= 3, 20_000);
  expect(snapshots.map(({ p, op }) => `${p} ${op}`).toSorted()).toEqual(['rap count', 'rap fail', 'rap sum']);
  const spans = new Map(snapshots.map(({ op, t }) => [op, t[0]]));
  expect(spans.get('sum')).toMatchObject({ c: 'MathController', m: 'sum', ch: [{ c: 'Adder', m: 'add' }] });
  expect(spans.get('count')).toMatchObject({ c: 'MathController', m: 'count' });
  expect(spans.get('fail')).toMatchObject({ e: { message: 'on purpose' } });
}, 60_000);

it('@nestjs/observe: the id of a request goes along on every path of the client', async () => {
  const { endpoint } = await collect();
  const client = await start(caller, endpoint, String(await freePort()));
  const ids = await client.call<Record<string, unknown>>('all', null, {
    header: { 'x-request-id': 'order-7' },
    timeoutMs: 20_000,
  });
  expect(Object.keys(ids)).toHaveLength(26);
  expect(Object.entries(ids).filter(([, id]) => id !== 'order-7')).toEqual([]);
}, 60_000);
