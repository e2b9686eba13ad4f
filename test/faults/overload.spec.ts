import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { RapServer, type RapServerOptions } from '../../lib/index.js';
import { ChannelPattern } from '../../lib/index.js';
import { systemClock } from '../../lib/rpc/time/system-clock.js';
import { type Gate, Gate as NewGate, eventually, testScope } from '../helpers/async.js';
import { DECLARE, RawSocket, type RawFrame } from '../helpers/raw-socket.js';

const scope = testScope();
const LAGS = 'The server is overloaded: its event loop lags';

let gate: Gate;
let begun: number;

@Controller()
class Things {
  @MessagePattern('echo') echo(body: unknown): unknown {
    begun += 1;
    return body;
  }

  @MessagePattern('wait') async wait(body: unknown): Promise<unknown> {
    begun += 1;
    await gate.opened;
    return body;
  }

  @ChannelPattern('chat') async chat(): Promise<void> {
    begun += 1;
    await gate.opened;
  }
}

/** A clock on which each timer of the event loop is as late as the test says. */
let lateMs = 0;
let real: typeof systemClock;

beforeEach(() => {
  gate = new NewGate();
  begun = 0;
  lateMs = 0;
  real = { ...systemClock };
  let ahead = 0;
  systemClock.now = () => real.now() + ahead;
  systemClock.after = (ms, callback) =>
    real.after(ms, () => {
      if (ms === 25) ahead += lateMs;
      callback();
    });
  scope.defer(() => {
    Object.assign(systemClock, real);
  });
});

function withLoad(declare: RawFrame): RawFrame {
  const [type, id, header, body] = declare;
  return [type, id, header, { ...(body as object), extensions: { load: {}, half_close: {} } }];
}

async function open(port: number, declare = withLoad(DECLARE)): Promise<RawSocket> {
  const raw = await RawSocket.open(port, declare);
  scope.defer(() => raw.destroy());
  return raw;
}

const call = (id: number, name: string, body: unknown = id): RawFrame => [
  101,
  id,
  { target: `/default/${name}` },
  body,
];
const isReport = ([type, , { target }]: RawFrame): boolean => type === 203 && target === '/_event/load';
const serve = (options: RapServerOptions = {}): ReturnType<typeof scope.serve> =>
  scope.serve([Things], { keepAlive: { intervalMs: 0 }, limits: { maxLoopDelayMs: 200 }, ...options });

it('tells a peer that wants to know how busy it is, and none that does not', async () => {
  const { port, server } = await serve();
  const [wants, python] = [await open(port), await open(port, DECLARE)];
  for (const raw of [wants, python]) raw.send(call(5, 'wait'));
  const [type, id, , body] = await wants.next(isReport);
  expect([type, id % 2]).toEqual([203, 0]);
  expect(body).toEqual({ in_flight: 2, loop_delay_us: expect.any(Number), refused: 0 });
  await wants.next(isReport);
  expect(python.frames.filter(isReport)).toEqual([]);
  gate.open();
  await python.answer(5);
  await eventually('the latency', () => server.stats().latencyMs > 0);
  expect(server.stats()).toMatchObject({ inFlight: 0, channels: 0, refusedCalls: 0 });
});

it('refuses calls and channels while its event loop lags, and no handler begins; what runs is answered, and pings', async () => {
  const { port, server } = await serve();
  const raw = await open(port);
  raw.send(call(5, 'wait'));
  await eventually('the handler', () => begun === 1);
  lateMs = 300;
  await eventually('the lag', () => server.stats().loopDelayMs > 200);
  raw.send(call(7, 'echo'), [102, 9, { channel_life_cycle: 'DECLARE', target: '/default/chat' }, {}]);
  expect((await raw.answer(7)).slice(2)).toEqual([expect.objectContaining({ status_code: 429 }), LAGS]);
  expect((await raw.answer(9)).slice(2)).toEqual([
    expect.objectContaining({ status_code: 429, channel_life_cycle: 'DROP' }),
    LAGS,
  ]);
  raw.send([103, 11, { target: '/_event/ping' }, {}]);
  expect((await raw.answer(11))[3]).toEqual({ mos: 0 });
  expect(begun).toBe(1);
  expect(server.stats()).toMatchObject({
    refusedCalls: 2,
    refusedByLoad: { loopDelay: 2, adaptiveLimit: 0 },
  });
  lateMs = 0;
  await eventually('the end of the lag', () => server.stats().loopDelayMs < 200);
  raw.send(call(13, 'echo'));
  expect((await raw.answer(13))[3]).toBe(13);
  gate.open();
  expect((await raw.answer(5))[3]).toBe(5);
});

it('answers health/check and health/watch while its event loop lags, and counts them as no refusal', async () => {
  const { port, server } = await serve();
  const raw = await open(port);
  raw.send(call(5, 'wait'));
  await eventually('the handler', () => begun === 1);
  lateMs = 300;
  await eventually('the lag', () => server.stats().loopDelayMs > 200);

  raw.send([101, 7, { target: '/health/check' }, null]);
  raw.send([102, 9, { channel_life_cycle: 'DECLARE', target: '/health/watch' }, {}]);
  expect(await raw.answer(7)).toEqual([101, 7, {}, { status: 'SERVING' }]);
  expect((await raw.answer(9))[2]).toEqual({ channel_life_cycle: 'DECLARE' });
  raw.send([102, 9, { channel_life_cycle: 'MSG' }, {}]);
  expect((await raw.answer(9))[3]).toEqual({ status: 'SERVING' });

  expect(server.stats()).toMatchObject({ refusedCalls: 0, refusedByLoad: { loopDelay: 0 } });
  gate.open();
  expect((await raw.answer(5))[3]).toBe(5);
});

it('refuses calls beyond the adaptive limit', async () => {
  const { port, server } = await serve({ adaptiveLimit: { min: 2, initial: 2 } });
  const raw = await open(port);
  raw.send(call(5, 'wait'), call(7, 'wait'), call(9, 'wait'));
  expect((await raw.answer(9)).slice(2)).toEqual([
    expect.objectContaining({ status_code: 429 }),
    'Too many calls in flight: the adaptive limit of the server is reached',
  ]);
  expect(server.stats()).toMatchObject({
    adaptiveLimit: 2,
    refusedByLoad: { loopDelay: 0, adaptiveLimit: 1 },
  });
  gate.open();
  expect((await raw.answer(7))[3]).toBe(7);
});

it.each([
  [{ adaptiveLimit: { most: 3 } }, 'adaptiveLimit.most is not an option'],
  [{ adaptiveLimit: { min: -1 } }, 'adaptiveLimit.min must be a number'],
  [{ adaptiveLimit: 5 }, 'adaptiveLimit must be an object'],
  [{ limits: { maxLoopDelayMs: -1 } }, 'limits.maxLoopDelayMs must be a number of at least 0'],
])('refuses the options %p', (options, message) => {
  expect(() => new RapServer(options as RapServerOptions)).toThrow(message);
});

it('has no adaptive limit by default', async () => {
  const { server } = await serve();
  expect(server.stats()).toEqual({
    connections: 0,
    inFlight: 0,
    channels: 0,
    draining: false,
    refusedCalls: 0,
    refusedConnections: 0,
    refusedByLoad: { loopDelay: 0, adaptiveLimit: 0 },
    refusedShare: 0,
    loopDelayMs: 0,
    latencyMs: 0,
    adaptiveLimit: undefined,
  });
});
