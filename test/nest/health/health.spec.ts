import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import {
  ChannelPattern,
  FuncNotFoundError,
  ParseError,
  RapClient,
  RapGroup,
  RapServer,
  type RapServerOptions,
  RegisteredError,
  type ServingStatus,
  TooManyRequestsError,
} from '../../../lib/index.js';
import { eventually, Gate, rejection, testScope, within } from '../../helpers/async.js';
import { RawSocket } from '../../helpers/raw-socket.js';
import { REMOTE_CALLERS } from '../../helpers/remote-caller.js';
import { collect } from '../../helpers/streams.js';

const scope = testScope();
let gate: Gate;
let running = 0;
beforeEach(() => {
  gate = new Gate();
  running = 0;
});

@RapGroup('math')
@Controller()
class MathController {
  @MessagePattern('hold') async hold(@Payload() n: number): Promise<number> {
    running += 1;
    await gate.opened;
    return n;
  }
  @MessagePattern('secret', { private: true }) secret(): void {}
  @ChannelPattern('talk') async talk(): Promise<void> {
    running += 1;
    await gate.opened;
  }
}

interface Answer {
  readonly status: ServingStatus;
}
const check = async (client: RapClient, service?: string): Promise<ServingStatus> =>
  (await client.call<Answer>('/health/check', service === undefined ? undefined : { service })).status;

/** Reads a watch; `seen` grows. */
function watching(client: RapClient, service?: string): { seen: ServingStatus[]; ended: Promise<void> } {
  const seen: ServingStatus[] = [];
  const ended = (async () => {
    for await (const { status } of client.stream<Answer>('/health/watch', { service })) seen.push(status);
  })();
  ended.catch(() => {});
  return { seen, ended };
}

/** Fills the server with calls that run until the gate opens, from connections that ignore its limits. */
async function saturate(port: number, calls: number): Promise<RawSocket> {
  const raw = await RawSocket.open(port);
  scope.defer(() => raw.destroy());
  for (let i = 0; i < calls; i++) raw.send([101, 5 + 2 * i, { target: '/math/hold' }, i]);
  return raw;
}

describe('/health/check', () => {
  it.each<[string | undefined, ServingStatus]>([
    [undefined, 'SERVING'],
    ['', 'SERVING'],
    ['math', 'SERVING'],
    ['math/hold', 'SERVING'],
    ['/math/hold', 'SERVING'],
    ['health', 'SERVING'],
    ['math/secret', 'SERVICE_UNKNOWN'],
    ['physics', 'SERVICE_UNKNOWN'],
    ['math/nothing', 'SERVICE_UNKNOWN'],
    ['x'.repeat(1000), 'SERVICE_UNKNOWN'],
  ])('of the service %j answers %s', async (service, status) => {
    const { client, server } = await scope.serve([MathController]);
    expect(await check(client(), service)).toBe(status);
    expect(server.health.status(service)).toBe(status);
  });

  it.each([[{ service: 5 }], ['math'], [[1]], [{ service: { a: 1 } }]])('refuses %j', async (data) => {
    const { client } = await scope.serve([MathController]);
    expect(await rejection(client().call('/health/check', data))).toBeInstanceOf(ParseError);
    expect(await rejection(collect(client().stream('/health/watch', data)))).toBeInstanceOf(ParseError);
  });

  it('answers a Python client, with a map of a text', async () => {
    const { port } = await scope.serve([MathController]);
    const raw = await RawSocket.open(port);
    scope.defer(() => raw.destroy());
    raw.send([101, 5, { target: '/health/check' }, {}]);
    expect(await raw.answer(5)).toEqual([101, 5, {}, { status: 'SERVING' }]);
  });

  it('tells what the application has set', async () => {
    const { client, server } = await scope.serve([MathController]);
    const rap = client();

    server.health.set('math', 'NOT_SERVING');
    server.health.set('database', 'SERVING');
    expect(await Promise.all(['', 'math', 'math/hold', 'database'].map((it) => check(rap, it)))).toEqual([
      'SERVING',
      'NOT_SERVING',
      'NOT_SERVING',
      'SERVING',
    ]);
    server.health.set('', 'NOT_SERVING');
    expect(await Promise.all(['', 'health', 'database', 'no'].map((it) => check(rap, it)))).toEqual([
      'NOT_SERVING',
      'NOT_SERVING',
      'NOT_SERVING',
      'SERVICE_UNKNOWN',
    ]);
    for (const service of ['', 'math', 'database']) server.health.clear(service);
    expect(await Promise.all(['', 'math', 'database'].map((it) => check(rap, it)))).toEqual([
      'SERVING',
      'SERVING',
      'SERVICE_UNKNOWN',
    ]);
  });

  it('knows functions that are registered at run time', async () => {
    const { client, server } = await scope.serve([MathController]);
    server.register('/late/one', () => 1);
    expect(await check(client(), 'late')).toBe('SERVING');
    server.unregister('/late/one');
    expect(await check(client(), 'late')).toBe('SERVICE_UNKNOWN');
  });

  it('says what is wrong with a status that is set', () => {
    const { health } = new RapServer();
    expect(() => health.set('math', 'SERVICE_UNKNOWN' as never)).toThrow(RegisteredError);
    expect(() => health.set('math', 'down' as never)).toThrow('must be SERVING or NOT_SERVING, got down');
    expect(() => health.set(5 as never, 'SERVING')).toThrow('must be text, got 5');
    expect(health.status()).toBe('NOT_SERVING');
    expect(health.reason).toBe('the server does not listen');
  });
});

describe('/health/watch', () => {
  it('tells the status, and each change', async () => {
    const { client, server } = await scope.serve([MathController]);
    const { seen } = watching(client(), 'late');
    await eventually('the first', () => seen.length === 1);

    server.register('/late/one', () => 1);
    await eventually('the second', () => seen.length === 2);
    server.register('/late/two', () => 2); // no change of the group
    server.health.set('late', 'NOT_SERVING');
    await eventually('the third', () => seen.length === 3);
    server.health.clear('late');
    await eventually('the fourth', () => seen.length === 4);

    expect(seen).toEqual(['SERVICE_UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVING']);
  });

  it('tells NOT_SERVING at the drain, ends, and does not hold the drain up', async () => {
    const { client, server } = await scope.serve([MathController], { closeTimeoutMs: 60_000 });
    const { seen, ended } = watching(client());
    await eventually('the first', () => seen.length === 1);

    await within('the drain', server.drain());

    await ended;
    expect(seen).toEqual(['SERVING', 'NOT_SERVING']);
  });

  it('ends when its reader leaves, and keeps nothing', async () => {
    const { client, server } = await scope.serve([MathController]);
    for await (const { status } of client().stream<Answer>('/health/watch')) {
      expect(status).toBe('SERVING');
      break;
    }
    await eventually('no stream left', () => server.stats().inFlight === 0);
  });
});

it('the server does not serve from the first moment of the drain, and serves again after a restart', async () => {
  const { server, client } = await scope.serve([MathController], { closeTimeoutMs: 10_000 });
  const call = client().call('/math/hold', 1);
  await eventually('it runs', () => running === 1);
  const seen: unknown[] = [];
  server.on('draining', () => seen.push(server.health.status(), server.health.reason));

  const drained = server.drain();
  expect(server.health.status('math')).toBe('NOT_SERVING');
  expect(seen).toEqual(['NOT_SERVING', 'the server shuts down']);
  gate.open();
  await drained;
  expect(await call).toBe(1);
  await server.close();
  expect(server.health.reason).toBe('the server does not listen');
  await new Promise<void>((resolve, reject) => {
    server.listen((error) => (error ? reject(error) : resolve()));
  });
  expect(server.health.status()).toBe('SERVING');
});

it('a client that goes on calling during the drain is told NOT_SERVING, and refused otherwise', async () => {
  const { server, port } = await scope.serve([MathController], { closeTimeoutMs: 10_000 });
  const raw = await RawSocket.open(port);
  scope.defer(() => raw.destroy());
  raw.send([101, 5, { target: '/math/hold' }, 1]);
  await eventually('it runs', () => running === 1);
  const drained = server.drain();
  const [, fence] = await raw.next((frame) => frame[0] === 203 && frame[2]['target'] === '/_event/ping');
  raw.send([203, fence, { target: '/_event/ping' }, '']);

  raw.send([101, 7, { target: '/math/hold' }, 2], [101, 9, { target: '/health/check' }, null]);

  expect((await raw.answer(7))[2]).toMatchObject({ status_code: 429 });
  expect(await raw.answer(9)).toEqual([101, 9, {}, { status: 'NOT_SERVING' }]);
  gate.open();
  await within('the drain', drained);
});

describe('under overload', () => {
  it.each<[string, RapServerOptions]>([
    ['maxInFlightTotal', { limits: { maxInFlightTotal: 2, maxInFlightPerAddress: 10 } }],
    ['maxInFlightPerAddress', { limits: { maxInFlightPerAddress: 2 } }],
    ['adaptiveLimit', { adaptiveLimit: { min: 2, max: 2, initial: 2 } }],
  ])('of %s, check and watch are answered', async (_, options) => {
    const { server, port, client } = await scope.serve([MathController], options);
    await saturate(port, 2);
    await eventually('they run', () => running === 2);
    const rap = client();

    expect(await rejection(rap.call('/math/hold', 3))).toBeInstanceOf(TooManyRequestsError);
    expect(await check(rap)).toBe('SERVING');
    expect(await check(rap, 'math')).toBe('SERVING');
    const { seen } = watching(rap);
    await eventually('the watch', () => seen.length === 1);
    expect(server.stats().refusedCalls).toBe(1);
    gate.open();
  });

  it('of the limit of the connection itself, a check is answered', async () => {
    const { server, port } = await scope.serve([MathController], { limits: { maxInFlight: 2 } });
    const raw = await saturate(port, 2);
    await eventually('they run', () => running === 2);

    raw.send([101, 101, { target: '/math/hold' }, 3], [101, 103, { target: '/health/check' }, null]);

    expect((await raw.answer(101))[2]).toMatchObject({ status_code: 429 });
    expect(await raw.answer(103)).toEqual([101, 103, {}, { status: 'SERVING' }]);
    expect(server.stats().refusedCalls).toBe(1);
    gate.open();
  });

  it('of the channels, a watch is answered', async () => {
    const { client } = await scope.serve([MathController], { limits: { maxChannelsTotal: 1 } });
    const busy = await client().channel('/math/talk');
    await eventually('it runs', () => running === 1);

    const { seen } = watching(client());

    await eventually('the watch', () => seen.length === 1);
    busy.close();
    gate.open();
  });

  it('a connection gets four checks and watches at once beyond its limits, and no more', async () => {
    const asked = new Gate();
    const { server, port } = await scope.serve([MathController], {
      limits: { maxInFlightPerAddress: 2 },
      authorize: (_, { group }) => group !== 'health' || asked.opened.then(() => true),
    });
    const raw = await saturate(port, 2);
    await eventually('they run', () => running === 2);

    const ids = Array.from({ length: 10 }, (_, i) => 101 + 2 * i);
    for (const id of ids) raw.send([101, id, { target: '/health/check' }, null]);
    const refused = await Promise.all(ids.slice(4).map((id) => raw.answer(id)));
    asked.open();
    const answered = await Promise.all(ids.slice(0, 4).map((id) => raw.answer(id)));

    expect(refused.map(([, , header]) => header['status_code'])).toEqual(Array(6).fill(429));
    expect(answered.map(([, , , body]) => body)).toEqual(
      Array.from({ length: 4 }, () => ({ status: 'SERVING' })),
    );
    expect(server.stats().refusedCalls).toBe(6);
    // those that have ended make room
    raw.send([101, 201, { target: '/health/check' }, null]);
    expect(await raw.answer(201)).toEqual([101, 201, {}, { status: 'SERVING' }]);
    gate.open();
  });
});

describe('the option health', () => {
  it('false removes both', async () => {
    const { client, server } = await scope.serve([MathController], { health: false });
    expect(await rejection(client().call('/health/check'))).toBeInstanceOf(FuncNotFoundError);
    expect(await rejection(collect(client().stream('/health/watch')))).toBeInstanceOf(FuncNotFoundError);
    expect(server.health.status()).toBe('SERVING');
  });

  it.each(REMOTE_CALLERS)('private and public, for a caller from %s', async (_, hostOf) => {
    const open = await scope.serve([MathController], { host: '0.0.0.0' });
    const closed = await scope.serve([MathController], { host: '0.0.0.0', health: 'private' });
    const client = new RapClient({ host: hostOf(open.server), port: open.port });
    const other = new RapClient({ host: hostOf(closed.server), port: closed.port });
    scope.defer(() => [client, other].forEach((each) => void each.close()));

    expect(await check(client)).toBe('SERVING');
    expect(await check(client, 'math/secret')).toBe('SERVICE_UNKNOWN');
    expect(await rejection(check(other))).toBeInstanceOf(FuncNotFoundError);
    client.close();
    other.close();
  });

  it('anything else is refused', () => {
    expect(() => new RapServer({ health: 'open' as never })).toThrow(
      "health must be 'public', 'private' or false",
    );
  });

  it('authorize is asked as for every function', async () => {
    const { client } = await scope.serve([MathController], {
      authorize: (_, { group }) => group !== 'health',
    });
    expect(await rejection(check(client()))).toBeInstanceOf(FuncNotFoundError);
  });
});

it('functions of the application with the same names are served instead', async () => {
  @RapGroup('health')
  @Controller()
  class OwnController {
    @MessagePattern('check') check(): string {
      return 'mine';
    }
    @ChannelPattern('watch') watch(): void {}
  }
  const { client, server } = await scope.serve([OwnController]);
  expect(await client().call('/health/check')).toBe('mine');
  expect(await collect(await client().channel('/health/watch'))).toEqual([]);

  server.register('/health/check', () => 'registered', { replace: true });
  expect(await client().call('/health/check')).toBe('registered');
});
