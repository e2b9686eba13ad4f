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
  type RapClient,
  type RapContext,
  type RapIterable,
  RapService,
  serverStream,
} from '../../lib/index.js';
import { eventually, Gate, rejection, testScope, within } from '../helpers/async.js';
import { aborted, idle, Probe, takeItems, turn } from '../helpers/streams.js';

const scope = testScope();
const TIMES = 200;

const unhandled: unknown[] = [];
const onUnhandled = (error: unknown): void => void unhandled.push(error);
beforeAll(() => process.on('unhandledRejection', onUnhandled));
afterAll(() => process.off('unhandledRejection', onUnhandled));

let probe = new Probe();
beforeEach(() => {
  probe = new Probe();
  unhandled.length = 0;
});
afterEach(async () => {
  await turn();
  await turn();
  expect(unhandled).toEqual([]);
});

const Feeds = defineService('feeds', {
  feed: serverStream<number, number>({ output: z.number() }),
  chat: duplex<number, number>({ input: z.number() }),
});

/** Gives `count` items, and then waits until its reader is gone. */
async function* feed(count: number, ctx: RapContext): AsyncGenerator<number> {
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
class FeedController {
  @MessagePattern('feed') feed(@Payload() count: number, @Ctx() ctx: RapContext): AsyncIterable<number> {
    return feed(count, ctx);
  }
  @ChannelPattern('chat') chat(
    @Payload() channel: RapChannel<number, number>,
    @Ctx() ctx: RapContext,
  ): unknown {
    return echo(channel, ctx);
  }
}

@RapService(Feeds)
class FeedsController {
  feed(count: number, ctx: RapContext): AsyncIterable<number> {
    return feed(count, ctx);
  }
  chat(channel: RapChannel<number, number>, ctx: RapContext): Promise<void> {
    return echo(channel, ctx);
  }
}

interface CallOptions {
  readonly signal?: AbortSignal;
}
type Source = (count: number, options: CallOptions) => RapIterable<number>;

/** Where streams are handed out. */
const STREAMS: Record<string, (client: RapClient) => Source | Promise<Source>> = {
  'client.stream()': (client) => (count, options) => client.stream('feed', count, options),
  'client.service()': (client) => client.service(Feeds).feed,
  'client.controller()': (client) => client.controller(FeedsController).feed,
  'client.controller() of what may be unary': (client) => client.controller(FeedController).feed,
  'session.stream()': async (client) => {
    const session = await client.openSession();
    return (count, options) => session.stream('feed', count, options);
  },
};

/** What a reader has seen so far. */
type Watch = (seen: number) => Promise<void>;

/** Ways to leave a stream when `count` items have come and nothing more does. Each resolves when the reader is gone. */
const WAYS: Record<string, (source: Source, count: number, seen: Watch) => Promise<void>> = {
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

async function unsubscribe(items: Observable<number>, count: number, seen: Watch): Promise<void> {
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

async function destroy(readable: Readable, count: number, seen: Watch): Promise<void> {
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

describe.each(Object.keys(STREAMS))('%s', (name) => {
  describe.each(Object.keys(WAYS))('left by %s', (way) => {
    it.each(name === 'client.stream()' ? [0, 1, 3] : [1])(
      `after %d items: the handler ends, ${TIMES} times`,
      async (count) => {
        const test = await scope.serve([FeedController, FeedsController]);
        const client = test.client();
        const source = await (STREAMS[name] as (typeof STREAMS)[string])(client);
        for (let i = 1; i <= TIMES; i++) {
          await WAYS[way]?.(source, count, () => eventually('it runs', () => probe.started === i));
          await eventually('it has ended', () => probe.ended === i);
        }
        await idle(test);
        expect(probe).toMatchObject({ started: TIMES, ended: TIMES, aborted: TIMES });
        expect(client.stats()).toEqual({ inFlight: 0, queued: 0, channels: 0, lateAnswers: 0 });
      },
    );
  });

  it(`left by break after some items: the handler ends, ${TIMES} times`, async () => {
    const test = await scope.serve([FeedController, FeedsController]);
    const client = test.client();
    const source = await (STREAMS[name] as (typeof STREAMS)[string])(client);
    for (let i = 0; i < TIMES; i++) expect(await takeItems(source(3, {}), 2)).toEqual([0, 1]);
    await idle(test);
    expect(probe).toMatchObject({ started: TIMES, ended: TIMES });
    expect(client.stats()).toMatchObject({ inFlight: 0, channels: 0 });
  });
});

describe('session.execute()', () => {
  const LEAVING = Object.keys(WAYS).filter((way) => !way.startsWith('an AbortSignal'));
  it.each(LEAVING)(`left by %s: the handler ends, ${TIMES} times`, async (way) => {
    const test = await scope.serve([FeedController]);
    const session = await test.client().openSession();
    for (let i = 1; i <= TIMES; i++) {
      const items = (await session.execute<number>('feed', 1)) as RapIterable<number>;
      await WAYS[way]?.(
        () => items,
        1,
        () => eventually('it runs', () => probe.started === i),
      );
      await eventually('it has ended', () => probe.ended === i);
    }
    await idle(test);
    expect(probe).toMatchObject({ started: TIMES, ended: TIMES });
    session.close();
  });
});

/** A client whose server is not there yet. */
async function waitingClient(): Promise<{ client: RapClient; serve: () => Promise<unknown> }> {
  const first = await scope.serve([FeedController]);
  const client = first.client({ reconnect: { baseDelayMs: 5, maxDelayMs: 5 } });
  await client.connect();
  const { port } = first;
  await first.server.close();
  await eventually('the connection is gone', () => !isConnected(client));
  return { client, serve: () => scope.serve([FeedController], { port }) };
}

function isConnected(client: RapClient): boolean {
  try {
    return client.unwrap() !== undefined;
  } catch {
    return false;
  }
}

describe('before there is a connection', () => {
  it('return() ends a next() at once, and the server hears nothing of it', async () => {
    const { client, serve } = await waitingClient();
    const iterator = client.stream('feed', 1)[Symbol.asyncIterator]();
    const waiting = iterator.next();
    await iterator.return?.();
    expect(await within('next()', waiting)).toEqual({ done: true, value: undefined });
    await serve();
    expect(await takeItems(client.stream('feed', 1), 1)).toEqual([0]);
    expect(probe.started).toBe(1);
  });

  it('a signal ends streams and channels at once', async () => {
    const { client } = await waitingClient();
    const controller = new AbortController();
    const { signal } = controller;
    const stream = rejection(client.stream('feed', 1, { signal })[Symbol.asyncIterator]().next());
    const channel = rejection(client.channel('chat', { signal }));
    await turn();
    controller.abort(new Error('enough'));
    for (const error of await within('the rejections', Promise.all([stream, channel]))) {
      expect(error).toBeInstanceOf(CallCancelledError);
      expect(error).toMatchObject({ cause: { message: 'enough' } });
    }
  });
});

/** Ways to stop reading a channel. Each resolves when the reader is gone. */
const READERS: Record<string, (channel: RapChannel<number, number>) => Promise<void>> = {
  'return() while next() waits': async (channel) => {
    const iterator = channel[Symbol.asyncIterator]();
    const waiting = iterator.next();
    await iterator.return?.();
    expect(await within('next()', waiting)).toEqual({ done: true, value: undefined });
  },
  'return() of messages()': async (channel) => {
    const iterator = channel.messages()[Symbol.asyncIterator]();
    const waiting = iterator.next();
    await iterator.return?.();
    expect(await within('next()', waiting)).toEqual({ done: true, value: undefined });
  },
  'unsubscribe of toObservable()': (channel) => unsubscribe(channel.toObservable(), 0, turn),
  'unsubscribe of from()': (channel) => unsubscribe(from(channel), 0, turn),
  'destroy of toReadable()': (channel) => destroy(channel.toReadable(), 0, turn),
};

describe.each(Object.keys(READERS))('a reader of a channel that leaves by %s', (way) => {
  it.each(['plain', 'checked'])('takes no message with it and does not close: %s', async (kind) => {
    const test = await scope.serve([FeedController, FeedsController]);
    const client = test.client();
    for (let i = 0; i < TIMES; i++) {
      const channel =
        kind === 'plain' ? await client.channel<number, number>('chat') : await client.service(Feeds).chat();
      await READERS[way]?.(channel);
      await channel.write(i);
      expect(await within('the message', channel.read())).toBe(i);
      channel.close();
    }
    await idle(test);
    expect(probe).toMatchObject({ started: TIMES, ended: TIMES });
    expect(client.stats()).toMatchObject({ inFlight: 0, channels: 0 });
  });

  it('does so in a handler whose messages are checked', async () => {
    const outcomes: unknown[] = [];
    @RapService(Feeds)
    class Leaving {
      feed(count: number, ctx: RapContext): AsyncIterable<number> {
        return feed(count, ctx);
      }
      async chat(channel: RapChannel<number, number>): Promise<void> {
        await READERS[way]?.(channel);
        await channel.write(1);
        outcomes.push(await channel.read());
      }
    }
    const test = await scope.serve([Leaving]);
    const channel = await test.client().service(Feeds).chat();
    expect(await channel.read()).toBe(1);
    await channel.write(7);
    await channel.closed;
    expect(outcomes).toEqual([7]);
  });
});

describe('toReadable()', () => {
  @Controller()
  class Counting {
    @MessagePattern('count') async *count(
      @Payload() to: number,
      @Ctx() ctx: RapContext,
    ): AsyncGenerator<unknown> {
      probe.begin(ctx);
      for (let i = 0; i < to; i++) {
        probe.produced += 1;
        yield await Promise.resolve('x'.repeat(1024));
      }
    }
    @MessagePattern('nulls') nulls(): unknown {
      return ['a', null].values();
    }
    @MessagePattern('fails') async *fails(): AsyncGenerator<number> {
      yield await Promise.resolve(1);
      throw new CallCancelledError('over');
    }
  }

  it('gives all items, and ends', async () => {
    const test = await scope.serve([Counting]);
    const all: unknown[] = [];
    for await (const item of test.client().stream('count', 1000).toReadable()) all.push(item);
    expect(all).toHaveLength(1000);
  });

  it('does not begin before it is read, and does not get ahead of its reader by more than the window', async () => {
    const test = await scope.serve([Counting]);
    const readable = test
      .client({ limits: { channelWindowBytes: 16_384 } })
      .stream('count', 10_000)
      .toReadable();
    await turn();
    expect(probe.started).toBe(0);
    readable.pause();
    readable.read(0);
    await eventually('it begins', () => probe.produced > 0);
    let before = -1;
    await eventually('it stands', () => {
      const stands = probe.produced === before;
      before = probe.produced;
      return stands && readable.readableLength > 0;
    });
    expect(probe.produced).toBeLessThan(40);
    expect(readable.readableLength).toBe(1);
    readable.destroy();
    await idle(test);
  });

  it('gives bytes to what reads bytes', async () => {
    const test = await scope.serve([Counting]);
    const readable = test.client().stream('count', 10).toReadable({ objectMode: false, encoding: 'utf8' });
    let text = '';
    for await (const chunk of readable) text += chunk as string;
    expect(text).toBe('x'.repeat(10_240));
  });

  it('fails with the error of the stream', async () => {
    const test = await scope.serve([Counting]);
    const seen: unknown[] = [];
    const readable = test.client().stream('fails').toReadable();
    const failed = rejection(
      (async () => {
        for await (const item of readable) seen.push(item);
      })(),
    );
    expect(await failed).toMatchObject({ message: 'over' });
    expect(seen).toEqual([1]);
  });

  it('refuses an item that would be its end', async () => {
    const test = await scope.serve([Counting]);
    const readable = test.client().stream('nulls').toReadable();
    const [error] = (await once(readable.resume(), 'error').catch((it: unknown) => [it])) as [Error];
    expect(error.message).toBe('an item is null, which is the end to a Readable');
    await idle(test);
  });
});
