import type net from 'node:net';
import { type Type, Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import {
  type BalancerOption,
  defineService,
  RapClient,
  type RapClientOptions,
  RapContext,
  RapError,
  type RapServerOptions,
  TooManyRequestsError,
  unary,
} from '../../../lib/index.js';
import { eventually, Gate, rejection, testScope, type ServedApp } from '../../helpers/async.js';

const scope = testScope();

/** A server whose handlers wait for what the test wants, and what it was asked. */
class Slow {
  attempts = 0;
  /** Handlers that were told that nobody waits for them any more. */
  cancelled = 0;
  app!: ServedApp;
  readonly #sockets: net.Socket[] = [];
  /** What its handlers wait for. */
  until: (() => Promise<unknown>) | undefined;

  constructor(readonly name: string) {}

  get address(): string {
    return `127.0.0.1:${this.app.port}`;
  }

  async start(options: RapServerOptions): Promise<void> {
    this.app = await scope.serve([controllerOf(this)], options);
    this.app.server.unwrap().on('connection', (socket: net.Socket) => this.#sockets.push(socket));
  }

  /** Loses its connections, as a broken network would. */
  cut(): void {
    for (const each of this.#sockets) each.destroy();
  }

  hold(): Gate {
    const gate = new Gate();
    this.until = () => gate.opened;
    return gate;
  }

  async answer(ctx: RapContext): Promise<string> {
    this.attempts += 1;
    ctx.setHeader('x-server', this.name);
    ctx.signal.addEventListener('abort', () => (this.cancelled += 1));
    const aborted = new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
    if (this.until) await Promise.race([this.until(), aborted]);
    return this.name;
  }
}

function controllerOf(server: Slow): Type {
  @Controller()
  class HedgedController {
    @MessagePattern('name')
    name(@Ctx() ctx: RapContext): Promise<string> {
      return server.answer(ctx);
    }

    @MessagePattern('items')
    async *items(@Ctx() ctx: RapContext): AsyncGenerator<string> {
      yield await server.answer(ctx);
    }
  }
  return HedgedController;
}

let servers: Slow[];
const first = (): Slow => servers[0] as Slow;
const second = (): Slow => servers[1] as Slow;
const attempts = (): number => servers.reduce((sum, each) => sum + each.attempts, 0);
const cancelled = (): number => servers.reduce((sum, each) => sum + each.cancelled, 0);

async function start(count = 2, options: RapServerOptions = {}): Promise<void> {
  servers = [];
  for (let i = 0; i < count; i += 1) {
    const server = new Slow(`s${i}`);
    await server.start(options);
    servers.push(server);
  }
}

/** Calls after which a client hedges: a twentieth of them may be, two. */
const WARM_UP = 40;

/** Calls go to the servers in their order. */
const inOrder: BalancerOption = (candidates) =>
  candidates.toSorted((a, b) => portOf(a) - portOf(b))[0] ?? candidates[0];
const portOf = ({ address }: { address: string }): number =>
  servers.findIndex((it) => it.address === address);

/** A client that is connected to all, and knows that calls are fast. */
async function ready(options: RapClientOptions = {}, warmUp = WARM_UP): Promise<RapClient> {
  const client = new RapClient({
    servers: servers.map(({ app }) => ({ host: '127.0.0.1', port: app.port })),
    balancer: inOrder,
    hedge: { minSamples: WARM_UP }, // none is made before that
    ...options,
  });
  scope.defer(() => client.close());
  const open = new Set<string>();
  client.on('endpoint', ({ address, state }) => void (state === 'ready' && open.add(address)));
  await client.connect();
  await eventually('all are connected', () => open.size === servers.length);
  for (let i = 0; i < warmUp; i += 1) await client.call('name', i, { idempotent: true });
  return client;
}

/** Forgets what was counted. */
function forget(): void {
  for (const each of servers) each.attempts = each.cancelled = 0;
}

const Names = defineService('default', { name: unary<number, string>({ idempotent: true }) });

/** The handlers as an application declares them. */
@Controller()
class Declared {
  @MessagePattern('name', { idempotent: true, kind: 'unary' })
  name(@Payload() _n: number): Promise<string> {
    return Promise.resolve('');
  }
}

it('the caller gets the header of the answer that counts', async () => {
  await start();
  const client = await ready();
  first().hold();
  const headers: unknown[] = [];
  const onHeader = (header: unknown): void => void headers.push(header);
  await client.call('name', 1, { idempotent: true, onHeader });
  expect(headers).toEqual([{ 'x-server': 's1' }]);
});

it.each<[string, (client: RapClient) => Promise<unknown>]>([
  ['call()', (client) => client.call('name', 1, { idempotent: true })],
  ['a unary method of a contract', (client) => client.service(Names).name(1)],
  ['a handler of client.controller() that says its kind', (client) => client.controller(Declared).name(1)],
])('%s that is slow is answered by another server, and cancelled at the first one', async (_what, call) => {
  await start();
  const client = await ready();
  forget();
  first().hold();
  await expect(call(client)).resolves.toBe('s1');
  await eventually('the handler is told', () => first().cancelled === 1);
  expect(servers.map((each) => each.attempts)).toEqual([1, 1]);
  expect(second().cancelled).toBe(0);
  await eventually('nothing runs', () => first().app.server.stats().inFlight === 0);
  expect(client.stats()).toMatchObject({ inFlight: 0, lateAnswers: 0 });
  expect(client.stats().endpoints?.map(({ failures }) => failures)).toEqual([0, 0]);
});

it('if the first server is faster in the end, the second is cancelled', async () => {
  await start();
  const client = await ready();
  forget();
  const [gate] = [first().hold(), second().hold()];
  const call = client.call('name', 1, { idempotent: true });
  await eventually('both have it', () => attempts() === 2);
  gate.open();
  await expect(call).resolves.toBe('s0');
  await eventually('the handler is told', () => second().cancelled === 1);
  expect(first().cancelled).toBe(0);
});

it('if the caller cancels, both servers are told', async () => {
  await start();
  const client = await ready();
  forget();
  for (const each of servers) each.hold();
  const controller = new AbortController();
  const call = rejection(client.call('name', 1, { idempotent: true, signal: controller.signal }));
  await eventually('both have it', () => attempts() === 2);
  controller.abort();
  expect((await call).name).toBe('CallCancelledError');
  await eventually('both are told', () => first().cancelled === 1 && second().cancelled === 1);
});

it('if no server answers, the time limit ends both', async () => {
  await start();
  const client = await ready();
  forget();
  for (const each of servers) each.hold();
  const call = rejection(client.call('name', 1, { idempotent: true, timeoutMs: 500 }));
  expect((await call).name).toBe('CallTimeoutError');
  await eventually('both are told', () => cancelled() === attempts());
  expect(attempts()).toBe(2);
  expect(client.stats().inFlight).toBe(0);
});

it('a slow server of three adds at most one attempt in twenty, and some', async () => {
  await start(3);
  const client = await ready({}, 0);
  const calls = WARM_UP + 1 + 28 * 20;
  const call = async (n: number): Promise<void> => {
    await client.call('name', n, { idempotent: true });
  };
  for (let n = 0; n < WARM_UP; n += 1) await call(n);
  first().hold();
  await call(WARM_UP); // answered by another server: the first one never does
  await eventually('the handler is told', () => cancelled() === 1);
  first().until = () => new Promise((resolve) => setTimeout(resolve, 25));
  for (let n = WARM_UP + 1; n < calls; n += 20)
    await Promise.all(Array.from({ length: 20 }, (_, i) => call(n + i)));
  const hedges = attempts() - calls;
  expect(hedges).toBeGreaterThan(0);
  expect(hedges).toBeLessThanOrEqual(0.05 * calls);
  await eventually('nothing runs', () => servers.every(({ app }) => app.server.stats().inFlight === 0));
  expect(cancelled()).toBeLessThanOrEqual(hedges);
});

it.each<[string, (client: RapClient) => Promise<unknown>]>([
  ['is not idempotent', (client) => client.call('name', 1)],
  ['is idempotent, to a client without hedges', (client) => client.call('name', 1, { idempotent: true })],
  [
    'opens a stream',
    async (client) => {
      for await (const item of client.stream('items', 1, { idempotent: true })) return item;
      return undefined;
    },
  ],
])('a call that %s has one attempt', async (what, call) => {
  await start();
  const hedging = await ready();
  const client = what.includes('without') ? await ready({ hedge: false }) : hedging;
  forget();
  const gate = first().hold();
  const outcome = call(client);
  await eventually('it runs', () => attempts() === 1);
  // a later call is hedged meanwhile
  await expect(hedging.call('name', 1, { idempotent: true })).resolves.toBe('s1');
  await eventually('that is cancelled', () => first().cancelled === 1);
  gate.open();
  await expect(outcome).resolves.toBe('s0');
  expect(servers.map((each) => [each.attempts, each.cancelled])).toEqual([
    [2, 1],
    [1, 0],
  ]);
});

describe('a second attempt that meets a throttle', () => {
  it('of the server: the first attempt goes on', async () => {
    await start(2, { limits: { maxInFlightTotal: 1 } });
    const client = await ready();
    const other = second().hold();
    const busy = new RapClient({ host: '127.0.0.1', port: second().app.port });
    scope.defer(() => busy.close());
    forget();
    const blocking = busy.call('name', 1);
    await eventually('the second is busy', () => second().attempts === 1);
    const gate = first().hold();
    const call = client.call('name', 1, { idempotent: true });
    await eventually('it was refused', () => second().app.server.stats().refusedCalls >= 1);
    gate.open();
    await expect(call).resolves.toBe('s0');
    other.open();
    await expect(blocking).resolves.toBe('s1');
    expect(servers.map((each) => [each.attempts, each.cancelled])).toEqual([
      [1, 0],
      [1, 0],
    ]);
  });

  it('of the server, and whose first attempt is lost, fails with both', async () => {
    await start(2, { limits: { maxInFlightTotal: 1 } });
    const client = await ready({ retry: { maxAttempts: 1 } });
    const other = second().hold();
    const busy = new RapClient({ host: '127.0.0.1', port: second().app.port });
    scope.defer(() => busy.close());
    const blocking = busy.call('name', 1);
    await eventually('the second is busy', () => second().app.server.stats().inFlight === 1);
    first().hold();
    const call = rejection(client.call('name', 1, { idempotent: true }));
    await eventually('it was refused', () => second().app.server.stats().refusedCalls >= 1);
    first().cut();
    const error = (await call) as unknown as RapError;
    expect(error).toBeInstanceOf(RapError);
    expect(error).toMatchObject({ sent: 'unknown' });
    expect(new Set(error.attempts?.map((each) => each.server))).toEqual(
      new Set([first().address, second().address]),
    );
    other.open();
    await blocking;
  });

  it('of the client: the first attempt goes on', async () => {
    await start();
    let isArmed = false;
    let requests = 0;
    const throttle = {
      processRequest() {
        requests += 1;
        if (isArmed && requests === 2) throw new TooManyRequestsError('the client throttles itself');
      },
      processResponse() {},
    };
    const client = await ready({ processors: [throttle] });
    forget();
    requests = 0;
    isArmed = true;
    const gate = first().hold();
    const call = client.call('name', 1, { idempotent: true });
    await eventually('the second was throttled', () => requests === 2);
    gate.open();
    await expect(call).resolves.toBe('s0');
    expect(second().attempts).toBe(0);
    expect(client.stats().inFlight).toBe(0);
  });
});
