import 'reflect-metadata';
import { firstValueFrom } from 'rxjs';
import {
  CallCancelledError,
  ChannelError,
  FuncNotFoundError,
  TooManyRequestsError,
} from '../../lib/index.js';
import { eventually, rejection } from '../helpers/async.js';
import { aborted, collect, idle } from '../helpers/streams.js';
import { serverSide, start } from './channel-handlers.js';
import { gate, notes, probe } from '../helpers/stream-scope.js';

describe('what a channel knows', () => {
  it('is its id, metadata and context, the same on both sides', async () => {
    const { mine } = await start();
    const metadata = { room: 'lobby', deep: [1, { a: null }] };
    const channel = await mine.channel('hold', { metadata, header: { trace: 'x' } });
    const other = await serverSide();
    const [ctx] = probe.contexts;
    expect(channel.metadata).toEqual(metadata);
    expect(other.metadata).toEqual(metadata);
    expect(ctx?.channelMetadata).toEqual(metadata);
    expect(ctx?.header['trace']).toBe('x');
    expect(ctx?.target).toBe('/default/hold');
    expect([other.id, ctx?.correlationId]).toEqual([channel.id, channel.id]);
    const second = await mine.channel('echo');
    expect(second.id).not.toBe(channel.id);
    second.close();
    gate.open();
    await channel.closed;
  });

  it('is an empty map if the client says nothing', async () => {
    const { mine } = await start();
    const channel = await mine.channel('hold');
    expect((await serverSide()).metadata).toEqual({});
    gate.open();
    await channel.closed;
  });

  it('is its signal: aborted at the end, with the error if there is one', async () => {
    const { mine } = await start();
    const channel = await mine.channel('hold');
    const other = await serverSide();
    expect([channel.signal.aborted, other.signal.aborted]).toEqual([false, false]);
    expect(channel.signal).toBe(channel.signal);
    channel.close();
    await aborted(other.signal);
    expect(other.isClosed).toBe(true);
    gate.open();
    const late = await mine.channel('returnsAtOnce');
    await late.closed;
    expect(late.signal.aborted).toBe(true);
  });

  it('is enough for a handler that only waits', async () => {
    const test = await start();
    const channel = await test.mine.channel('signalled');
    await eventually('it runs', () => probe.started === 1);
    channel.close();
    await idle(test);
    expect([probe.ended, notes]).toEqual([1, [true]]);
  });
});

describe('opening', () => {
  it('of what does not exist fails', async () => {
    const { mine } = await start();
    const channel = await mine.channel('nope');
    const error = await rejection(channel.read());
    expect(error).toBeInstanceOf(FuncNotFoundError);
    expect(error.message).toBe('Not found func. name: nope, group: default');
    expect(await rejection(channel.closed)).toBeInstanceOf(FuncNotFoundError);
    expect(await rejection(channel.write(1))).toBeInstanceOf(FuncNotFoundError);
  });

  it('can be cancelled before and after', async () => {
    const test = await start();
    const gone = AbortSignal.abort(new Error('before'));
    expect(await rejection(test.mine.channel('echo', { signal: gone }))).toBeInstanceOf(CallCancelledError);
    const controller = new AbortController();
    const channel = await test.mine.channel<number, number>('echo', { signal: controller.signal });
    await channel.write(1);
    await channel.read();
    const reading = rejection(channel.read());
    controller.abort(new Error('after'));
    expect(await reading).toMatchObject({ code: 'ERR_RAP_CALL_CANCELLED', cause: { message: 'after' } });
    expect(await rejection(channel.closed)).toBeInstanceOf(CallCancelledError);
    expect(await rejection(channel.write(1))).toBeInstanceOf(CallCancelledError);
    await idle(test);
    expect(probe.aborted).toBe(1);
  });

  it('of a unary function as a channel is refused in words that name both kinds, and it does not run', async () => {
    const { mine } = await start();
    const reader = await mine.channel('sum');
    const writer = await mine.channel('sum');
    await writer.write({ a: 1, b: 2 });
    for (const channel of [reader, writer]) {
      const error = await rejection(channel.read());
      expect(error).toBeInstanceOf(ChannelError);
      expect(error).toMatchObject({
        status: 1008,
        message: expect.stringMatching(/\/default\/sum is unary.*call\(\).*channel\(\)/),
      });
    }
    expect(probe.started).toBe(0);
  });

  it('of a stream as a channel is refused', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number>('count');
    await channel.write({ n: 3 });
    expect(await rejection(channel.read())).toMatchObject({
      status: 1008,
      message: expect.stringMatching(/stream\(\).*not channel\(\)/),
    });
    expect(probe.started).toBe(0);
  });

  it('of a channel as a call is refused in words that name both kinds', async () => {
    const { mine } = await start();
    for (const calling of [mine.call('echo', 1), firstValueFrom(mine.send('echo', 1))]) {
      const error = await rejection(calling);
      expect(error).toBeInstanceOf(ChannelError);
      expect(error).toMatchObject({
        status: 1008,
        message: expect.stringMatching(/\/default\/echo is a channel.*channel\(\).*call\(\)/),
      });
    }
    expect(probe.started).toBe(0);
  });

  it('of a channel as a stream gives its messages', async () => {
    const { mine } = await start();
    expect(await collect(mine.stream('returns'))).toEqual(['last words']);
  });

  it('of more than the server allows is refused with 429', async () => {
    const test = await start({ limits: { maxChannels: 3 } });
    const open = await Promise.all([1, 2, 3].map(() => test.mine.channel('hold')));
    await eventually('all run', () => probe.started === 3);
    const fourth = await test.mine.channel('hold');
    expect(await rejection(fourth.read())).toBeInstanceOf(TooManyRequestsError);
    expect(open.map((channel) => channel.isClosed)).toEqual([false, false, false]);
    expect(test.server.stats().refusedCalls).toBe(1);
    gate.open();
    await Promise.all(open.map((channel) => channel.closed));
  });
});

describe('many channels', () => {
  it('at once keep their messages apart', async () => {
    const { mine } = await start();
    const open = await Promise.all(Array.from({ length: 60 }, () => mine.channel('echo')));
    await Promise.all(
      open.map(async (channel, c) => {
        for (let i = 0; i < 30; i++) {
          await channel.write({ c, i });
          expect(await channel.read()).toEqual({ c, i });
        }
      }),
    );
    open[7]?.close(new Error('one of them fails'));
    await open[8]?.write('unharmed');
    expect(await open[8]?.read()).toBe('unharmed');
    for (const channel of open) channel.close();
  });
});
