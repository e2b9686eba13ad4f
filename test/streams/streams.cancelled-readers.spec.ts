import 'reflect-metadata';
import { once } from 'node:events';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { CallCancelledError, type RapClient, type RapContext, type RapIterable } from '../../lib/index.js';
import { eventually, rejection, testScope, turn, within } from '../helpers/async.js';
import {
  FeedController,
  Feeds,
  FeedsController,
  probe,
  type Source,
  TIMES,
  watchCancelledReaders,
  WAYS_TO_CANCEL,
} from '../helpers/cancelled-readers.js';
import { idle, takeItems } from '../helpers/streams.js';

const scope = testScope();
watchCancelledReaders();

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

describe.each(Object.keys(STREAMS))('%s', (name) => {
  describe.each(Object.keys(WAYS_TO_CANCEL))('left by %s', (way) => {
    it.each(name === 'client.stream()' ? [0, 1, 3] : [1])(
      `after %d items: the handler ends, ${TIMES} times`,
      async (count) => {
        const test = await scope.serve([FeedController, FeedsController]);
        const client = test.client();
        const source = await (STREAMS[name] as (typeof STREAMS)[string])(client);
        for (let i = 1; i <= TIMES; i++) {
          await WAYS_TO_CANCEL[way]?.(source, count, () => eventually('it runs', () => probe.started === i));
          await eventually('it has ended', () => probe.ended === i);
        }
        await idle(test);
        expect(probe).toMatchObject({ started: TIMES, ended: TIMES, aborted: TIMES });
        expect(client.stats()).toEqual({
          connections: 1,
          inFlight: 0,
          queued: 0,
          channels: 0,
          waitingForCredit: 0,
          lateAnswers: 0,
        });
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
  const CANCELS = Object.keys(WAYS_TO_CANCEL).filter((way) => !way.startsWith('an AbortSignal'));
  it.each(CANCELS)(`left by %s: the handler ends, ${TIMES} times`, async (way) => {
    const test = await scope.serve([FeedController]);
    const session = await test.client().openSession();
    for (let i = 1; i <= TIMES; i++) {
      const items = (await session.execute<number>('feed', 1)) as RapIterable<number>;
      await WAYS_TO_CANCEL[way]?.(
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

describe('toReadable()', () => {
  @Controller()
  class Counting {
    @MessagePattern('count') async *count(@Payload() to: number, @Ctx() ctx: RapContext): AsyncGenerator {
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
