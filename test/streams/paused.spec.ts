import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { ChannelPattern, RapChannel } from '../../lib/index.js';
import type { TestApp } from '../helpers/app.js';
import { eventually, pass, testScope } from '../helpers/async.js';
import { call, declare, declared, lifeCycle, msg, openWith, untilDrop } from '../helpers/channel-frames.js';
import type { RawSocket } from '../helpers/raw-socket.js';

const scope = testScope();

/** More than the server keeps of a peer that knows no credits. */
const MANY = 200;

let faults: unknown[] = [];
beforeEach(() => {
  faults = [];
});

@Controller()
class PausedController {
  /** Reads nothing, and then learns why it may not go on. */
  @ChannelPattern('unread')
  async unread(@Payload() channel: RapChannel): Promise<void> {
    await channel.closed.catch(() => {});
    await channel.read().catch((error: unknown) => faults.push(error));
  }
}

const FOR_EVER_MS = 3_600_000;

/** A peer without credits, whose messages keep the server from reading it. */
async function paused(
  pauseTimeoutMs: number,
  intervalMs: number,
): Promise<{ test: TestApp; raw: RawSocket }> {
  const test = await scope.serve([PausedController], {
    keepAlive: { intervalMs, timeoutMs: intervalMs, maxMissed: 2 },
    limits: { pauseTimeoutMs },
  });
  const raw = await openWith(test.port, {});
  scope.defer(() => raw.destroy());
  raw.send(declare(5, 'unread'), ...Array.from({ length: MANY }, (_, i) => msg(5, i)));
  expect(await raw.answer(5)).toEqual(declared(5));
  return { test, raw };
}

const allAreGone = (test: TestApp): Promise<void> =>
  eventually('the connection is gone', () => test.server.stats().connections === 0);

it('a channel that nobody reads ends with 1008 for both sides, and the rest of its connection goes on', async () => {
  const { raw } = await paused(100, FOR_EVER_MS);
  const frames = await untilDrop(raw, 5);
  expect(frames.map(lifeCycle)).toEqual(['DROP 1008']);
  expect(JSON.stringify(frames[0]?.[3])).toContain('limits.pauseTimeoutMs');
  await eventually('the handler has heard of it', () => faults.length === 1);
  expect(faults[0]).toMatchObject({ name: 'ChannelError', status: 1008 });
  raw.send(call(7, 'nobody', null));
  expect((await raw.answer(7))[2]['status_code']).toBe(404);
});

it('a peer that says nothing any more is closed, though its messages were never read', async () => {
  const { test, raw } = await paused(100, 100);
  raw.socket.pause();
  await allAreGone(test);
});

it('a peer whose process is gone is found by what it is sent, long before the end of the pause', async () => {
  const { test, raw } = await paused(FOR_EVER_MS, 100);
  // so much that Node does not read ahead any more, and sees no end either
  raw.send(...Array.from({ length: 8 }, () => msg(5, Buffer.alloc(100_000))));
  await pass(100);
  raw.socket.resetAndDestroy();
  await allAreGone(test);
});
