import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { MessageMiddleware, type RapContext, RapError } from '../../lib/index.js';
import type { TestApp } from '../helpers/app.js';
import { eventually } from '../helpers/async.js';
import {
  call,
  declare,
  end,
  EXTENSIONS,
  fence,
  lifeCycle,
  msg,
  openWith,
  untilDrop,
} from '../helpers/channel/channel-frames.js';
import type { RawSocket } from '../helpers/raw-socket.js';
import { aborted, collectFailing } from '../helpers/streams.js';
import { probe, scope } from '../helpers/stream-scope.js';

@Controller()
class FirstFramesController {
  @MessagePattern('fails')
  async *fails(@Payload() after: number, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    for (let i = 0; i < after; i++) yield await Promise.resolve(i);
    throw new RapError('no more', { status: 1004 });
  }

  @MessagePattern('waits')
  async *waits(@Payload() after: number, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    for (let i = 0; i < after; i++) yield await Promise.resolve(i);
    await aborted(ctx.signal);
    probe.ended += 1;
  }

  @MessagePattern('left')
  left(@Payload() _: unknown, @Ctx() ctx: RapContext): number | null {
    return ctx.deadline === undefined ? null : ctx.deadline - Date.now();
  }
}

function start(): Promise<TestApp> {
  return scope.serve([FirstFramesController]);
}

async function connect(port: number): Promise<RawSocket> {
  const raw = await openWith(port, { ...EXTENSIONS, accept_stream: {} });
  scope.defer(() => raw.destroy());
  return raw;
}

const STREAM = { accept_stream: true };

it('a stream that fails before its first item is answered as a call is, and after it ends by DROP', async () => {
  const raw = await connect((await start()).port);
  raw.send(call(5, 'fails', 0), call(7, 'fails', 0, STREAM), call(9, 'fails', 1, STREAM));
  for (const id of [5, 7]) {
    expect(await raw.answer(id)).toMatchObject({ 0: 101, 2: { status_code: 1004 }, 3: 'no more' });
    expect(await fence(raw, id)).toEqual([]);
  }
  expect((await untilDrop(raw, 9)).map(lifeCycle)).toEqual(['MSG', 'DROP 1004']);
});

it('its error reaches a caller of one value, and one of a stream', async () => {
  const client = (await start()).client();
  await expect(client.call('fails', 0)).rejects.toMatchObject({ status: 1004, message: 'no more' });
  const { items, error } = await collectFailing(client.stream('fails', 0));
  expect([items, error]).toMatchObject([[], { status: 1004, message: 'no more' }]);
});

it('END in place of the parameters of a stream is refused, and its function does not run', async () => {
  const raw = await connect((await start()).port);
  raw.send(declare(11, 'waits', {}, STREAM));
  // [102, 11, {channel_life_cycle: "END"}, nil]
  raw.bytes('94660b81 b26368616e6e656c5f6c6966655f6379636c65 a3454e44 c0');
  const frames = await untilDrop(raw, 11);
  expect(frames.map(lifeCycle)).toEqual(['DECLARE', 'DROP 1008']);
  expect(frames[1]?.[3]).toBe(
    '/default/waits is no channel: END came in place of its parameters, the first message',
  );
  raw.send(declare(13, 'waits', {}, STREAM), msg(13, 1), end(13));
  expect((await raw.next((frame) => frame[1] === 13 && lifeCycle(frame) === 'MSG'))[3]).toBe(0);
  expect(probe.started).toBe(1);
});

it('the time of a stream ends in one way, whichever frame has opened it', async () => {
  const time = scope.stopTime();
  const raw = await connect((await start()).port);
  const limited = { ...STREAM, timeout_ms: 400 };
  raw.send(call(5, 'waits', 0, limited), call(7, 'waits', 1, limited));
  raw.send(declare(9, 'waits', {}, limited), msg(9, 0), declare(11, 'waits', {}, limited), msg(11, 1));
  await eventually('all run', () => probe.started === 4);
  await fence(raw);
  time.pass(400);
  for (const id of [5, 7, 9, 11]) {
    const last = await raw.next((frame) => frame[1] === id && frame[2]['status_code'] !== undefined);
    expect(last).toMatchObject({ 2: { status_code: 1005 }, 3: 'the deadline of the channel is over' });
    expect(last[0]).toBe(id === 5 ? 101 : 102);
  }
  await eventually('all have ended', () => probe.ended === 4);
});

it.each([
  ['text', '5'],
  ['nil', null],
  ['a map', { ms: 5 }],
  ['true', true],
  ['not a number', Number.NaN],
  ['an integer beyond 2^53', 2n ** 60n],
])('timeout_ms that is %s is as good as none', async (_what, value) => {
  scope.stopTime();
  const raw = await connect((await start()).port);
  raw.send(call(5, 'left', null, { timeout_ms: value }));
  expect((await raw.answer(5))[3]).toBeGreaterThan(8000);
  // a stream lasts for as long as both sides want
  raw.send(call(7, 'waits', 1, { ...STREAM, timeout_ms: value }));
  expect(lifeCycle(await raw.answer(7))).toBe('MSG');
  expect(probe.contexts[0]?.deadline).toBeUndefined();
});

it('a stream whose error middleware keeps to itself ends, and is answered by what middleware gives if it had not begun', async () => {
  class Fallback extends MessageMiddleware {
    use(_request: unknown, next: () => Promise<unknown>): Promise<unknown> {
      return next().catch(() => 'fallback');
    }
  }
  const { port } = await scope.serve([FirstFramesController], { middleware: [new Fallback()] });
  const raw = await connect(port);
  raw.send(call(5, 'fails', 0), call(7, 'fails', 1, STREAM), call(9, 'fails', 2));
  expect(await raw.answer(5)).toMatchObject({ 0: 101, 2: {}, 3: 'fallback' });
  expect((await untilDrop(raw, 7)).map(lifeCycle)).toEqual(['MSG', 'DROP']);
  expect((await untilDrop(raw, 9)).map(lifeCycle)).toEqual(['MSG', 'MSG', 'DROP']);
});
