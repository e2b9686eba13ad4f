import 'reflect-metadata';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { from, type Observable } from 'rxjs';
import { z } from 'zod';
import {
  CallCancelledError,
  ChannelPattern,
  defineService,
  duplex,
  type RapChannel,
  type RapContext,
  type RapIterable,
  RapService,
  serverStream,
} from '../../lib/index.js';
import { Gate, rejection, turn, within } from './async.js';
import { aborted, Probe } from './streams.js';

/** More than a connection has slots. */
export const TIMES = 200;

/** What the handlers below have gone through, in this test. */
export const probe = new Probe();

/** For specs of cancelled readers: every test begins with an empty probe, and leaves no rejection unhandled. */
export function watchCancelledReaders(): void {
  const unhandled: unknown[] = [];
  const onUnhandled = (error: unknown): void => void unhandled.push(error);
  beforeAll(() => process.on('unhandledRejection', onUnhandled));
  afterAll(() => process.off('unhandledRejection', onUnhandled));
  beforeEach(() => {
    Object.assign(probe, new Probe());
    unhandled.length = 0;
  });
  afterEach(async () => {
    await turn();
    await turn();
    expect(unhandled).toEqual([]);
  });
}

export const Feeds = defineService('feeds', {
  feed: serverStream<number, number>({ output: z.number() }),
  chat: duplex<number, number>({ input: z.number() }),
});

/** Gives `count` items, and then waits until its reader is gone. */
export async function* feed(count: number, ctx: RapContext): AsyncGenerator<number> {
  probe.begin(ctx);
  try {
    for (let i = 0; i < count; i++) yield i;
    await aborted(ctx.signal);
  } finally {
    probe.ended += 1;
  }
}

async function echo(channel: RapChannel<number, number>, ctx: RapContext): Promise<void> {
  probe.begin(ctx);
  try {
    for await (const n of channel) await channel.write(n);
  } finally {
    probe.ended += 1;
  }
}

@Controller()
export class FeedController {
  @MessagePattern('feed') feed(@Payload() count: number, @Ctx() ctx: RapContext): AsyncIterable<number> {
    return feed(count, ctx);
  }
  @MessagePattern('short') async *short(): AsyncGenerator<number> {
    probe.begin();
    yield await Promise.resolve(0);
    probe.ended += 1;
  }
  @ChannelPattern('chat') chat(
    @Payload() channel: RapChannel<number, number>,
    @Ctx() ctx: RapContext,
  ): unknown {
    return echo(channel, ctx);
  }
}

@RapService(Feeds)
export class FeedsController {
  feed(count: number, ctx: RapContext): AsyncIterable<number> {
    return feed(count, ctx);
  }
  chat(channel: RapChannel<number, number>, ctx: RapContext): Promise<void> {
    return echo(channel, ctx);
  }
}

export interface CallOptions {
  readonly signal?: AbortSignal;
}
export type Source = (count: number, options: CallOptions) => RapIterable<number>;

/** What a reader has seen so far. */
export type Watch = (seen: number) => Promise<void>;

/** Ways to cancel a reader that has got `count` items and waits for more. Each resolves when the reader is gone. */
export const WAYS_TO_CANCEL: Record<string, (source: Source, count: number, seen: Watch) => Promise<void>> = {
  'return() while next() waits': async (source, count, seen) => {
    const iterator = source(count, {})[Symbol.asyncIterator]();
    for (let i = 0; i < count; i++) expect((await iterator.next()).value).toBe(i);
    const [waiting, second] = [iterator.next(), iterator.next()];
    await seen(count);
    await iterator.return?.();
    expect(await within('next()', Promise.all([waiting, second, iterator.next()]))).toEqual(
      Array.from({ length: 3 }, () => ({ done: true, value: undefined })),
    );
  },
  'unsubscribe of toObservable()': async (source, count, seen) =>
    unsubscribe(source(count, {}).toObservable(), count, seen),
  'unsubscribe of from()': async (source, count, seen) => unsubscribe(from(source(count, {})), count, seen),
  'destroy of toReadable()': async (source, count, seen) =>
    destroy(source(count, {}).toReadable(), count, seen),
  'an AbortSignal while next() waits': async (source, count, seen) => {
    const controller = new AbortController();
    const iterator = source(count, { signal: controller.signal })[Symbol.asyncIterator]();
    for (let i = 0; i < count; i++) expect((await iterator.next()).value).toBe(i);
    const waiting = rejection(iterator.next());
    await seen(count);
    controller.abort();
    expect(await within('next()', waiting)).toBeInstanceOf(CallCancelledError);
  },
};

export async function unsubscribe(items: Observable<number>, count: number, seen: Watch): Promise<void> {
  const values: number[] = [];
  const all = new Gate();
  const ended: unknown[] = [];
  const subscription = items.subscribe({
    next: (value) => {
      if (values.push(value) === count) all.open();
    },
    error: (error) => ended.push(error),
    complete: () => ended.push('complete'),
  });
  if (count > 0) await all.opened;
  await seen(count);
  subscription.unsubscribe();
  expect([values, ended]).toEqual([Array.from({ length: count }, (_, i) => i), []]);
}

export async function destroy(readable: Readable, count: number, seen: Watch): Promise<void> {
  const values: number[] = [];
  const all = new Gate();
  readable.on('data', (value: number) => {
    if (values.push(value) === count) all.open();
  });
  if (count > 0) await all.opened;
  await seen(count);
  const closed = once(readable, 'close');
  readable.destroy();
  await within('close', closed);
  expect(values).toEqual(Array.from({ length: count }, (_, i) => i));
}
