import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { RapClient } from '../../lib/index.js';
import { eventually, rejection, testScope } from '../helpers/async.js';
import { compile, type Compiled } from '../helpers/compiled.js';
import { collect } from '../helpers/streams.js';

type Line = Readonly<Record<string, unknown>>;

const scope = testScope();
const app = (name: string): string => `test/e2e/fixtures/${name}-app.ts`;
let compiled: Compiled;
beforeAll(async () => {
  const apps = ['pino', 'cls', 'context'].map(app);
  compiled = await compile([...apps, 'test/e2e/fixtures/log-handlers.ts']);
}, 60_000);
afterAll(() => compiled.remove());

/** Starts an application. Returns a client of it, and what it logs as JSON. */
async function start(name: string, argument = ''): Promise<{ client: RapClient; lines: Line[] }> {
  const child = spawn(process.execPath, [compiled.path(app(name)), argument], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  scope.defer(() => child.kill('SIGKILL'));
  const lines: Line[] = [];
  let port = 0;
  createInterface(child.stdout).on('line', (line) => {
    if (line.startsWith('{')) lines.push(JSON.parse(line) as Line);
    if (line.startsWith('listening ')) port = Number(line.slice('listening '.length));
  });
  await Promise.race([
    eventually('it listens', () => port > 0, 20_000),
    once(child, 'exit').then(() => Promise.reject(new Error('it has ended'))),
  ]);
  const client = new RapClient({ host: '127.0.0.1', port });
  scope.defer(() => client.close());
  return { client, lines };
}

const asked = (id: string): { header: Record<string, string> } => ({ header: { 'x-request-id': id } });

/** Makes a call of each kind, each with an id of its own. Returns the id that each line of a handler is due to have. */
async function callAll(client: RapClient): Promise<Record<string, string>> {
  await Promise.all([
    client.call('order', 1, asked('a-1')),
    client.call('order', 2, asked('a-2')),
    rejection(client.call('refuse', null, asked('a-3'))),
    collect(client.stream('list', 2, asked('a-4'))),
    client.channel<string, string>('talk', asked('a-5')).then(async (channel) => {
      await channel.write('one');
      await channel.write('end');
      await channel.closed;
    }),
  ]);
  return {
    'order 1': 'a-1',
    'order 2': 'a-2',
    refuse: 'a-3',
    'item 0': 'a-4',
    'item 1': 'a-4',
    listed: 'a-4',
    'line one': 'a-5',
    'line end': 'a-5',
  };
}

/** The value of a key in the line of each message. */
function byMessage(lines: readonly Line[], message: string, key: string): Record<string, unknown> {
  return Object.fromEntries(lines.map((line) => [line[message], line[key]]));
}

it.each(['microservice', 'hybrid', 'hybrid, without the configuration of the application'])(
  'nestjs-pino, %s: each line of a handler, and of what it calls, has the id of its request',
  async (kind) => {
    const { client, lines } = await start('pino', kind);
    const due = await callAll(client);
    client.emit('placed', null);
    const orders = (): Line[] => lines.filter(({ context }) => context === 'Orders');
    await eventually('all lines', () => orders().length >= Object.keys(due).length + 2);

    expect(byMessage(orders(), 'msg', 'reqId')).toMatchObject(due);
    expect(orders().find(({ msg }) => msg === 'order 1')).toMatchObject({
      rpc: {
        pattern: 'order',
        transport: 'rap',
        controller: 'OrdersController',
        handler: 'order',
        type: 'message',
      },
    });
    // the handlers of an event are one request
    const placed = orders().filter(({ msg }) => String(msg).includes('placed'));
    expect(placed.map(({ rpc }) => (rpc as Line)['transport'])).toEqual(['rap', 'rap']);
    expect(new Set(placed.map(({ reqId }) => reqId)).size).toBe(1);
    expect(lines.find(({ reqId, msg }) => reqId === 'a-3' && msg === 'message errored')).toBeDefined();
  },
  60_000,
);

it('nestjs-pino: lines of the access log have fields', async () => {
  const { client, lines } = await start('pino', 'microservice');
  await callAll(client);
  const access = (): Line[] => lines.filter(({ context }) => context === 'AccessLogMiddleware');
  await eventually('all lines', () => access().length === 5);
  const refused = access().find(({ target }) => target === '/default/refuse');
  expect(refused).toMatchObject({ level: 40, kind: 'call', status: 401 });
  expect(typeof refused?.['connectionId']).toBe('string');
  const calls = access().map(({ correlationId }) => correlationId);
  expect(new Set(calls).size).toBe(5);
  expect(new Set(access().map(({ connectionId }) => connectionId)).size).toBe(1);
}, 60_000);

it.each(['interceptor', 'guard'])(
  'nestjs-cls, mounted by its %s: each line of a handler has the id of its request',
  async (by) => {
    const { client, lines } = await start('cls', by);
    const due = await callAll(client);
    const own = (): Line[] => lines.filter(({ msg }) => String(msg) in due);
    await eventually('all lines', () => own().length >= Object.keys(due).length);
    expect(byMessage(own(), 'msg', 'reqId')).toEqual(due);
  },
  60_000,
);

it("Nest's own logger: each line of a handler has the id of the running call", async () => {
  const { client, lines } = await start('context', 'logger');
  const due = await callAll(client);
  const own = (): Line[] => lines.filter(({ context }) => context === 'Orders');
  await eventually('all lines', () => own().length >= Object.keys(due).length);
  expect(byMessage(own(), 'message', 'requestId')).toEqual(due);
  expect(lines.find(({ message }) => message === 'order 1')).toMatchObject({ target: '/default/order' });
}, 60_000);

it.each([
  ['option', '/default/asks'],
  // calls that began before anything has asked are not followed
  ['handler', null],
])(
  'without a client in the process, the %s asks: the first call has %s',
  async (by, first) => {
    const { client } = await start('context', by);
    expect(await client.call('asks')).toBe(first);
    expect(await client.call('asks')).toBe('/default/asks');
  },
  60_000,
);
