import 'reflect-metadata';
import { from, lastValueFrom } from 'rxjs';
import { CallCancelledError, type RapChannel, type RapContext, RapService } from '../../lib/index.js';
import { eventually, rejection, testScope, turn, within } from '../helpers/async.js';
import {
  type CallOptions,
  destroy,
  feed,
  FeedController,
  Feeds,
  FeedsController,
  probe,
  TIMES,
  unsubscribe,
  watchCancelledReaders,
} from '../helpers/cancelled-readers.js';
import { idle } from '../helpers/streams.js';

const scope = testScope();
watchCancelledReaders();

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
    class EarlyEnd {
      feed(count: number, ctx: RapContext): AsyncIterable<number> {
        return feed(count, ctx);
      }
      async chat(channel: RapChannel<number, number>): Promise<void> {
        await READERS[way]?.(channel);
        await channel.write(1);
        outcomes.push(await channel.read());
      }
    }
    const test = await scope.serve([EarlyEnd]);
    const channel = await test.client().service(Feeds).chat();
    expect(await channel.read()).toBe(1);
    await channel.write(7);
    await channel.closed;
    expect(outcomes).toEqual([7]);
  });
});

/** Ways to wait for a message of a channel. Each gives what becomes of it. */
const WAITING: Record<string, (channel: RapChannel<number, number>) => Promise<unknown>> = {
  'read()': (channel) => channel.read(),
  'for await': async (channel) => {
    for await (const n of channel) return n;
    return undefined;
  },
  'messages()': async (channel) => {
    for await (const { body } of channel.messages()) return body;
    return undefined;
  },
  'toObservable()': (channel) => lastValueFrom(channel.toObservable(), { defaultValue: undefined }),
  'toReadable()': async (channel) => {
    for await (const n of channel.toReadable()) return n as number;
    return undefined;
  },
};

describe.each(Object.keys(WAITING))('a channel on which %s waits', (way) => {
  it.each(['plain', 'checked'])(`ends with close(), ${TIMES} times: %s`, async (kind) => {
    const { open, test } = await channels(kind);
    for (let i = 1; i <= TIMES; i++) {
      const channel = await open({});
      const waiting = WAITING[way]?.(channel);
      if (i % 2 === 0) await eventually('it runs', () => probe.started === i);
      channel.close();
      expect(await within('the reader', waiting as Promise<unknown>)).toBeUndefined();
      await eventually('it has ended', () => probe.ended === probe.started);
    }
    await idle(test);
  });

  it.each(['plain', 'checked'])(`fails with its signal, ${TIMES} times: %s`, async (kind) => {
    const { open, test } = await channels(kind);
    for (let i = 1; i <= TIMES; i++) {
      const controller = new AbortController();
      const channel = await open({ signal: controller.signal });
      const waiting = rejection(WAITING[way]?.(channel) as Promise<unknown>);
      if (i % 2 === 0) await eventually('it runs', () => probe.started >= 1);
      controller.abort();
      expect(await within('the reader', waiting)).toBeInstanceOf(CallCancelledError);
    }
    await idle(test);
    expect(probe.ended).toBe(probe.started);
  });
});

async function channels(kind: string) {
  const test = await scope.serve([FeedController, FeedsController]);
  const client = test.client();
  const open = (options: CallOptions): Promise<RapChannel<number, number>> =>
    kind === 'plain' ? client.channel<number, number>('chat', options) : client.service(Feeds).chat(options);
  return { test, open };
}
