import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, RapChannel, RapClient, type RapContext } from '../../lib/index.js';
import type { TestApp } from '../helpers/app.js';
import { answerDeclareWith, openWith } from '../helpers/channel/channel-frames.js';
import { type RawFrame, RawSocket, scriptedServer } from '../helpers/raw-socket.js';
import type { StoppedTime } from '../helpers/stopped-time.js';
import { aborted } from '../helpers/streams.js';
import { gate, probe, scope, type ServeOptions, serveWithClient } from '../helpers/stream-scope.js';

export let time: StoppedTime;

beforeEach(() => void (time = scope.stopTime()));

/** Time that a handler has left, in milliseconds. */
function leftMs(ctx: RapContext): number | null {
  return ctx.deadline === undefined ? null : ctx.deadline - Date.now();
}

@Controller()
export class DeadlineController {
  @MessagePattern('left')
  left(@Payload() _: unknown, @Ctx() ctx: RapContext): number | null {
    return leftMs(ctx);
  }

  @MessagePattern('leftStream')
  async *leftStream(@Payload() _: unknown, @Ctx() ctx: RapContext): AsyncGenerator<number | null> {
    yield await Promise.resolve(leftMs(ctx));
  }

  @ChannelPattern('leftChannel')
  async leftChannel(
    @Payload() channel: RapChannel<unknown, number | null>,
    @Ctx() ctx: RapContext,
  ): Promise<void> {
    await channel.write(leftMs(ctx));
    await aborted(ctx.signal);
    probe.ended += 1;
  }

  @MessagePattern('wait')
  async wait(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await aborted(ctx.signal);
    probe.ended += 1;
  }

  @MessagePattern('waitStream')
  async *waitStream(@Payload() _: unknown, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    try {
      yield 1;
      await aborted(ctx.signal);
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('deaf')
  async deaf(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await gate.opened;
    probe.ended += 1;
  }

  @MessagePattern('headers')
  headers(@Payload() _: unknown, @Ctx() ctx: RapContext): unknown {
    return ctx.header;
  }

  @MessagePattern('echo')
  echo(@Payload() body: unknown): unknown {
    return body;
  }
}

/** Serves, with handlers that may be told to end. */
export function start(options: ServeOptions = {}): Promise<TestApp & { mine: RapClient }> {
  return serveWithClient([DeadlineController], options);
}

export async function connect(port: number, extensions?: Record<string, unknown>): Promise<RawSocket> {
  const raw = await openWith(port, extensions);
  scope.defer(() => raw.destroy());
  return raw;
}

/** A server of literal frames that knows all extensions, and what it was told. */
export async function recorder(
  answer: (peer: RawSocket, frame: RawFrame) => void,
): Promise<{ client: RapClient; frames: RawFrame[] }> {
  const frames: RawFrame[] = [];
  const scripted = await scriptedServer(async (peer) => {
    await answerDeclareWith(peer);
    for (;;) {
      const frame = await peer.next(undefined, 60_000);
      frames.push(frame);
      answer(peer, frame);
    }
  });
  scope.defer(() => scripted.close());
  const client = new RapClient({ host: '127.0.0.1', port: scripted.port });
  scope.defer(() => client.close());
  return { client, frames };
}

/** Between so much and less: the wall clock, which deadlines are told in, runs on. */
export function expectLeft(left: unknown, ms: number): void {
  expect(left).toBeGreaterThan(ms * 0.5);
  expect(left).toBeLessThanOrEqual(ms);
}

export const at = (ms: number): Record<string, number> => ({ 'X-rap-deadline': (Date.now() + ms) / 1000 });
