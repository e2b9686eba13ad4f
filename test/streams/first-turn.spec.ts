import 'reflect-metadata';
import { Controller, type CanActivate, UseGuards } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, RapChannel, type RapContext } from '../../lib/index.js';
import { eventually, testScope } from '../helpers/async.js';
import { call, declare, drop, EXTENSIONS, msg, openWith } from '../helpers/channel/channel-frames.js';
import type { RawFrame } from '../helpers/raw-socket.js';

const scope = testScope();
let ended = 0;
let started = 0;
beforeEach(() => {
  ended = started = 0;
});

/** Waits for `abort`, and for nothing else. */
async function untilAborted(signal: AbortSignal): Promise<void> {
  started += 1;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  ended += 1;
}

class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    await new Promise((resolve) => setImmediate(resolve));
    return true;
  }
}

@Controller()
class WaitingController {
  @ChannelPattern('channel')
  channel(@Ctx() ctx: RapContext): Promise<void> {
    return untilAborted(ctx.signal);
  }

  @ChannelPattern('itself')
  itself(@Payload() channel: RapChannel): Promise<void> {
    return untilAborted(channel.signal);
  }

  @UseGuards(SlowGuard)
  @ChannelPattern('guarded')
  guarded(@Ctx() ctx: RapContext): Promise<void> {
    return untilAborted(ctx.signal);
  }

  @MessagePattern('stream')
  async *stream(@Ctx() ctx: RapContext): AsyncGenerator<void> {
    yield await untilAborted(ctx.signal);
  }

  @UseGuards(SlowGuard)
  @MessagePattern('call')
  call(@Ctx() ctx: RapContext): Promise<void> {
    return untilAborted(ctx.signal);
  }
}

const cancel = (id: number): RawFrame => [103, id + 1000, { target: '/_event/cancel' }, { id }];

it.each([
  ['a channel', (id: number) => [declare(id, 'channel'), drop(id)]],
  ['the signal of a channel itself', (id: number) => [declare(id, 'itself'), drop(id)]],
  ['a channel behind a guard', (id: number) => [declare(id, 'guarded'), drop(id)]],
  ['a stream', (id: number) => [declare(id, 'stream'), msg(id, null), drop(id)], 0],
  ['a call', (id: number) => [call(id, 'call', null), cancel(id)]],
])(
  'a handler that listens in its first turn hears that it was given up before: %s',
  async (_, frames, starts = 100) => {
    const test = await scope.serve([WaitingController]);
    const raw = await openWith(test.port, EXTENSIONS);
    scope.defer(() => raw.destroy());
    for (let n = 0; n < 100; n++) raw.send(...frames(5 + 2 * n));
    raw.send(declare(3001, 'channel'));
    await raw.next((frame) => frame[1] === 3001);
    await eventually('the slots of all others to be free', () => test.server.stats().inFlight === 1);
    expect(ended).toBe(started - 1);
    expect(started).toBeGreaterThan(starts);
  },
);
