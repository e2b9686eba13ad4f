import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, take, toArray } from 'rxjs';
import {
  AuthError,
  CallCancelledError,
  ChannelError,
  ChannelLifecycleError,
  ChannelPattern,
  FuncNotFoundError,
  OverloadError,
  RapChannel,
  type RapClient,
  type RapContext,
  RapError,
  ServerError,
  TooManyRequestsError,
} from '../../lib/index.js';
import type { TestApp } from '../helpers/app.js';
import { eventually, Gate, pass, rejection, testScope, turn, within } from '../helpers/async.js';
import { aborted, collect, collectFailing, idle, Probe } from '../helpers/streams.js';

const scope = testScope();
let probe = new Probe();
let gate = new Gate();
/** The server's side of the channels of a test, and what its handlers met. */
let channels: RapChannel[] = [];
let notes: unknown[] = [];
beforeEach(() => {
  probe = new Probe();
  gate = new Gate();
  channels = [];
  notes = [];
});

@Controller()
class ChannelController {
  @ChannelPattern('echo')
  async echo(@Payload() channel: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    channels.push(channel);
    for await (const body of channel) await channel.write(body);
    probe.ended += 1;
  }

  /** Writes back each message with its own header, and what it can see of the caller's. */
  @ChannelPattern('headers')
  async headers(@Payload() channel: RapChannel): Promise<void> {
    for await (const { header, body } of channel.messages()) {
      await channel.write({ header, body }, { trace: `re ${String(header['trace'])}`, n: 1 });
    }
  }

  /** The channel as rap's examples use it. */
  @ChannelPattern('loop')
  async loop(@Payload() channel: RapChannel<number, number>): Promise<void> {
    while (await channel.loop()) {
      const n = await channel.read();
      if (n === undefined) break;
      await channel.write(n + 1);
    }
    probe.ended += 1;
  }

  /** Counts what it gets; says so when the client has ended. */
  @ChannelPattern('upload')
  async upload(@Payload() channel: RapChannel<number, { count: number; sum: number }>): Promise<void> {
    let [count, sum] = [0, 0];
    for await (const n of channel) {
      count += 1;
      sum += n;
    }
    await channel.write({ count, sum });
  }

  /** Keeps the channel for the test, until the test lets go. */
  @ChannelPattern('hold')
  async hold(@Payload() channel: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    channels.push(channel);
    await gate.opened;
    probe.ended += 1;
  }

  @ChannelPattern('returns')
  async returns(@Payload() channel: RapChannel): Promise<string> {
    await channel.write('last words');
    return 'this goes nowhere';
  }

  @ChannelPattern('returnsAtOnce')
  returnsAtOnce(@Payload() channel: RapChannel): void {
    channels.push(channel);
  }

  @ChannelPattern('throws')
  async throws(@Payload() channel: RapChannel<string, string>): Promise<void> {
    const what = await channel.read();
    await channel.write('before');
    if (what === 'masked') throw new TypeError('secret');
    throw new AuthError('not you', { code: 'ERR_APP', details: { you: what } });
  }

  /** Notes what its own read and write run into when the peer ends the channel. */
  @ChannelPattern('notes')
  async notes(@Payload() channel: RapChannel<string, string>, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    channels.push(channel);
    try {
      for await (const line of channel) notes.push(line);
      notes.push('end');
    } catch (error) {
      notes.push(error);
    }
    notes.push(await rejection(channel.write('too late')));
    probe.ended += 1;
  }

  /** Ends its side first, and reads on. */
  @ChannelPattern('endsFirst')
  async endsFirst(@Payload() channel: RapChannel<string, string>): Promise<void> {
    await channel.write('hello');
    await channel.end();
    for await (const line of channel) notes.push(line);
    notes.push('end');
  }

  @ChannelPattern('closes')
  async closes(@Payload() channel: RapChannel<string, string>): Promise<void> {
    const how = await channel.read();
    await channel.write('bye');
    if (how === 'error') channel.close(new AuthError('closed on you', { details: 1 }));
    else if (how === 'text') channel.close('only a text');
    else channel.close();
    notes.push(
      channel.isClosed,
      await rejection(channel.write('x')),
      await channel.read().catch((e: unknown) => e),
    );
  }

  /** Hears of the end by nothing but its signal. */
  @ChannelPattern('signalled')
  async signalled(@Payload() channel: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await Promise.all([aborted(ctx.signal), aborted(channel.signal)]);
    notes.push(channel.isClosed);
    probe.ended += 1;
  }

  /** Writes as fast as it can and never awaits. */
  @ChannelPattern('rude')
  async rude(@Payload() channel: RapChannel<unknown, Buffer>): Promise<void> {
    const writes = Array.from({ length: 5000 }, () =>
      channel.write(Buffer.alloc(1024)).then(() => 'written'),
    );
    const outcomes = await Promise.allSettled(writes);
    notes.push(
      ...outcomes.map((it) => (it.status === 'fulfilled' ? it.value : (it.reason as Error).constructor.name)),
    );
  }

  @ChannelPattern('toObservable')
  async toObservable(@Payload() channel: RapChannel<number>): Promise<void> {
    const lines = await lastValueFrom(channel.toObservable().pipe(take(2), toArray()));
    await channel.write(lines);
    for await (const line of channel) await channel.write(line);
  }

  @MessagePattern('sum')
  sum(@Payload() { a, b }: { a: number; b: number }): number {
    probe.begin();
    return a + b;
  }

  @MessagePattern('count')
  async *count(@Payload() { n }: { n: number }): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield await Promise.resolve(i);
  }
}

async function start(
  options: Parameters<typeof scope.serve>[1] = {},
): Promise<TestApp & { mine: RapClient }> {
  const test = await scope.serve([ChannelController], options);
  const mine = test.client();
  scope.defer(() => {
    gate.open();
    mine.close();
    return idle(test);
  });
  return { ...test, mine };
}

/** The server's side of the last channel. */
async function serverSide(): Promise<RapChannel> {
  await eventually('the handler has its channel', () => channels.length > 0);
  return channels.at(-1) as RapChannel;
}

describe('reading and writing', () => {
  it('goes both ways, in order', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    const sent = Array.from({ length: 2000 }, (_, i) => i);
    const writing = (async () => {
      for (const n of sent) await channel.write(n);
      await channel.end();
    })();
    expect(await collect(channel)).toEqual(sent);
    await writing;
    await channel.closed;
    expect([channel.isClosed, probe.ended]).toEqual([true, 1]);
  });

  it('carries whatever msgpack can', async () => {
    const { mine } = await start();
    const channel = await mine.channel('echo');
    for (const body of [
      0,
      '',
      false,
      null,
      [],
      {},
      { a: [{ b: 2n ** 60n }] },
      'ü',
      1.5,
      Buffer.alloc(200_000, 7),
    ]) {
      await channel.write(body);
      expect(await channel.read()).toEqual(body);
    }
    await channel.write(undefined);
    expect(await channel.read()).toBeNull();
    channel.close();
  });

  it('reads undefined after the last message, again and again', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('returns');
    expect(await channel.read()).toBe('last words');
    for (let i = 0; i < 3; i++) expect(await channel.read()).toBeUndefined();
    expect(await collect(channel)).toEqual([]);
    await channel.closed;
  });

  it('lets several readers share the messages', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    const reads = [channel.read(), channel.read(), channel.read()];
    for (const n of [1, 2, 3]) await channel.write(n);
    expect(await Promise.all(reads)).toEqual([1, 2, 3]);
    const pending = channel.read();
    await channel.end();
    expect(await pending).toBeUndefined();
  });

  it('goes on after a loop that was left', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    for (const n of [1, 2, 3]) await channel.write(n);
    for await (const n of channel) {
      expect(n).toBe(1);
      break;
    }
    expect(channel.isClosed).toBe(false);
    expect(await channel.read()).toBe(2);
    for await (const { body } of channel.messages()) {
      expect(body).toBe(3);
      break;
    }
    channel.close();
  });

  it('reads what had come before the end, after it', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('closes');
    await channel.write('in order');
    await channel.closed;
    expect(channel.isClosed).toBe(true);
    expect([await channel.read(), await channel.read()]).toEqual(['bye', undefined]);
  });

  it('reads what had come before an error, then fails with it', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('throws');
    await channel.write('me');
    await rejection(channel.closed);
    const { items, error } = await collectFailing(channel);
    expect(items).toEqual(['before']);
    expect(error).toBeInstanceOf(AuthError);
    expect(await rejection(channel.read())).toMatchObject({ message: 'not you' });
  });
});

describe('messages()', () => {
  it("shows headers both ways, and the life cycle stays the channel's own", async () => {
    const { mine } = await start();
    const channel = await mine.channel<{ header: object; body: unknown }>('headers');
    await channel.write('a', { trace: 't1', channel_life_cycle: 'DROP', deep: { er: [1] } });
    await channel.write('b');
    await channel.end();
    const got = [];
    for await (const message of channel.messages()) got.push(message);
    expect(got).toEqual([
      {
        header: { channel_life_cycle: 'MSG', trace: 're t1', n: 1 },
        body: { header: { channel_life_cycle: 'MSG', trace: 't1', deep: { er: [1] } }, body: 'a' },
      },
      {
        header: { channel_life_cycle: 'MSG', trace: 're undefined', n: 1 },
        body: { header: { channel_life_cycle: 'MSG' }, body: 'b' },
      },
    ]);
  });
});

describe('write()', () => {
  it('resolves when the peer has room, not before', async () => {
    const { mine } = await start();
    const channel = await mine.channel<unknown, Buffer>('hold');
    let written = 0;
    const writing = (async () => {
      for (let i = 0; i < 600; i++) {
        await channel.write(Buffer.alloc(1024));
        written += 1;
      }
    })();
    await eventually('the window is full', () => written > 200);
    await mine.call('sum', { a: 1, b: 1 });
    await pass(20);
    expect(written).toBeLessThan(262);
    const other = await serverSide();
    for (let i = 0; i < 100; i++) await other.read();
    expect(written).toBeLessThan(400);
    for (let i = 0; i < 500; i++) await other.read();
    await within('all is written', writing);
    expect(written).toBe(600);
    gate.open();
    await channel.closed;
  });

  it('fails for a body that cannot be sent, and the channel goes on', async () => {
    const { mine } = await start();
    const channel = await mine.channel('echo');
    const circular: unknown[] = [];
    circular.push(circular);
    for (const body of [circular, { deep: circular }, Buffer.alloc(5 << 20)]) {
      expect(await rejection(channel.write(body))).toBeInstanceOf(RapError);
    }
    expect(await rejection(channel.write('x', { big: 'x'.repeat(10_000) }))).toBeInstanceOf(RapError);
    await channel.write('good');
    expect(await channel.read()).toBe('good');
    channel.close();
  });

  it('fails for a body that cannot be sent also where it had to wait', async () => {
    const { mine } = await start();
    const channel = await mine.channel('hold');
    const filling = Array.from({ length: 300 }, () => channel.write(Buffer.alloc(1024)));
    const circular: unknown[] = [];
    circular.push(circular);
    const bad = channel.write(circular);
    const last = channel.write('last');
    const failed = rejection(bad);
    const other = await serverSide();
    for (let i = 0; i < 300; i++) await other.read();
    expect(await failed).toBeInstanceOf(RapError);
    await last;
    await Promise.all(filling);
    expect(await other.read()).toBe('last');
    gate.open();
    await channel.closed;
  });

  it('that nobody awaits waits in a bounded line, and then fails', async () => {
    const { mine } = await start();
    const channel = await mine.channel<Uint8Array>('rude');
    const got = await collect(channel);
    await channel.closed;
    const written = notes.filter((note) => note === 'written').length;
    expect(got).toHaveLength(written);
    expect(notes.filter((note) => note === 'OverloadError')).toHaveLength(5000 - written);
    // the window and 1024 that wait
    expect(written).toBeGreaterThan(1024);
    expect(written).toBeLessThan(1400);
  });

  it('that nobody awaits fails on the client too, with words that help', async () => {
    const { mine } = await start();
    const channel = await mine.channel<unknown, Buffer>('hold');
    const writes = Array.from({ length: 1500 }, () => channel.write(Buffer.alloc(1024)));
    const outcomes = Promise.allSettled(writes);
    const error = await rejection(writes.at(-1) as Promise<void>);
    expect(error).toBeInstanceOf(OverloadError);
    expect(error).toMatchObject({
      message: expect.stringContaining('await write()'),
      code: 'ERR_RAP_OVERLOAD',
    });
    channel.close();
    const reasons = (await outcomes).flatMap((it) =>
      it.status === 'rejected' ? [it.reason as unknown] : [],
    );
    expect(reasons.some((reason) => reason instanceof ChannelLifecycleError)).toBe(true);
    gate.open();
  });
});

describe('end()', () => {
  it('leaves the other direction open', async () => {
    const { mine } = await start();
    const channel = await mine.channel<{ count: number; sum: number }, number>('upload');
    for (const n of [1, 2, 3]) await channel.write(n);
    await channel.end();
    expect(channel.isClosed).toBe(false);
    expect(await channel.read()).toEqual({ count: 3, sum: 6 });
    expect(await channel.read()).toBeUndefined();
    await channel.closed;
  });

  it('comes after writes that still wait', async () => {
    const { mine } = await start();
    const channel = await mine.channel<unknown, Buffer>('hold');
    const writes = Array.from({ length: 400 }, (_, i) => channel.write(Buffer.alloc(1024, i)));
    const ended = channel.end();
    const other = await serverSide();
    const got = await collect(other as RapChannel<Uint8Array>);
    expect(got.map((body) => body[0])).toEqual(Array.from({ length: 400 }, (_, i) => i % 256));
    await Promise.all([...writes, ended]);
    gate.open();
    await channel.closed;
  });

  it('may come first from the server, which reads on', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('endsFirst');
    expect([await channel.read(), await channel.read()]).toEqual(['hello', undefined]);
    expect(channel.isClosed).toBe(false);
    await channel.write('still heard');
    await channel.end();
    await channel.closed;
    await eventually('the handler has seen the end', () => notes.length === 2);
    expect(notes).toEqual(['still heard', 'end']);
  });

  it('allows no write after it, and no second end', async () => {
    const { mine } = await start();
    const channel = await mine.channel('hold');
    await channel.end();
    const error = await rejection(channel.write(1));
    expect(error).toBeInstanceOf(ChannelLifecycleError);
    expect(error).toMatchObject({ status: 10081, message: 'this side has ended' });
    expect(await rejection(channel.end())).toBeInstanceOf(ChannelLifecycleError);
    gate.open();
    await channel.closed;
    expect(await rejection(channel.end())).toMatchObject({ status: 10081, message: 'the channel is closed' });
  });

  it('may be the very first word', async () => {
    const { mine } = await start();
    const channel = await mine.channel<{ count: number }, number>('upload');
    await channel.end();
    expect(await channel.read()).toEqual({ count: 0, sum: 0 });
    await channel.closed;
  });
});

describe('close()', () => {
  it('ends the channel both ways, at once', async () => {
    const test = await start();
    const channel = await test.mine.channel<string, string>('notes');
    await channel.write('one');
    await eventually('it has read', () => notes.length === 1);
    const reading = channel.read();
    channel.close();
    channel.close();
    expect(await reading).toBeUndefined();
    expect(channel.isClosed).toBe(true);
    expect(channel.signal.aborted).toBe(true);
    await channel.closed;
    expect(await rejection(channel.write('x'))).toBeInstanceOf(ChannelLifecycleError);
    await idle(test);
    expect(notes.slice(0, 2)).toEqual(['one', 'end']);
    expect(notes[2]).toBeInstanceOf(ChannelLifecycleError);
    expect(probe.aborted).toBe(1);
    expect(test.mine.stats().channels).toBe(0);
  });

  it('with an error tells the handler', async () => {
    const test = await start();
    const channel = await test.mine.channel<string, string>('notes');
    await channel.write('one');
    await eventually('it has read', () => notes.length === 1);
    channel.close(new AuthError('I give up', { details: { step: 3 } }));
    await channel.closed;
    await idle(test);
    const [, error, late] = notes;
    expect(error).toBeInstanceOf(AuthError);
    expect(error).toMatchObject({ message: 'I give up', status: 401, details: { step: 3 } });
    expect(late).toMatchObject({ message: 'I give up' });
    const other = await serverSide();
    expect(await rejection(other.closed)).toBeInstanceOf(AuthError);
    expect(other.signal.reason).toMatchObject({ message: 'I give up' });
  });

  it('with an error in the handler tells the client', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('closes');
    await channel.write('error');
    const { items, error } = await collectFailing(channel);
    expect(items).toEqual(['bye']);
    expect(error).toBeInstanceOf(AuthError);
    expect(error).toMatchObject({ message: 'closed on you', details: 1 });
    expect(await rejection(channel.closed)).toBeInstanceOf(AuthError);
    expect(await rejection(channel.write('x'))).toBeInstanceOf(AuthError);
    expect(channel.signal.reason).toMatchObject({ message: 'closed on you' });
    await eventually('the handler has gone on', () => notes.length === 3);
    expect(notes[0]).toBe(true);
    expect(notes[1]).toBeInstanceOf(ChannelLifecycleError);
    expect(notes[2]).toBeUndefined();
  });

  it('takes anything as an error', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('closes');
    await channel.write('text');
    expect(await rejection(channel.closed)).toMatchObject({ message: 'only a text', status: 301 });
    await eventually('the handler has gone on', () => notes.length === 3);
  });

  it('before the server has answered leaves nothing behind', async () => {
    const test = await start();
    const channel = await test.mine.channel('echo');
    channel.close();
    expect(await channel.read()).toBeUndefined();
    await channel.closed;
    await test.mine.call('sum', { a: 1, b: 1 });
    await idle(test);
    expect(test.mine.stats()).toMatchObject({ channels: 0 });
  });

  it('drops what was not read', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    await channel.write(1);
    await mine.call('sum', { a: 1, b: 1 });
    channel.close();
    expect(await channel.read()).toBeUndefined();
  });
});

describe('a handler', () => {
  it('that returns ends the channel; its result goes nowhere', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('returns');
    expect(await collect(channel)).toEqual(['last words']);
    await channel.closed;
    expect(await rejection(channel.write('x'))).toBeInstanceOf(ChannelLifecycleError);
  });

  it('that returns at once, without a promise, ends the channel', async () => {
    const { mine } = await start();
    const channel = await mine.channel('returnsAtOnce');
    expect(await channel.read()).toBeUndefined();
    await channel.closed;
    expect((await serverSide()).isClosed).toBe(true);
  });

  it('that throws ends the channel with its error', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('throws');
    await channel.write('me');
    expect(await channel.read()).toBe('before');
    const error = await rejection(channel.read());
    expect(error).toBeInstanceOf(AuthError);
    expect(error).toMatchObject({ message: 'not you', code: 'ERR_APP', details: { you: 'me' }, status: 401 });
  });

  it('that throws anything else is masked, or shown where errors are exposed', async () => {
    const { mine, log } = await start();
    const channel = await mine.channel<string, string>('throws');
    await channel.write('masked');
    const error = await rejection(channel.closed);
    expect(error).toBeInstanceOf(ServerError);
    expect(error.message).toBe('Internal server error');
    expect(log.lines.filter((line) => line.includes('secret'))).toHaveLength(1);

    const exposing = await start({ exposeErrors: true });
    const open = await exposing.mine.channel<string, string>('throws');
    await open.write('masked');
    expect(await rejection(open.closed)).toMatchObject({
      message: 'secret',
      remoteName: 'TypeError',
      status: 301,
    });
  });

  it('that ends its side has its signal left alone until the client is done', async () => {
    const { mine } = await start();
    const channel = await mine.channel('hold');
    const other = await serverSide();
    await other.end();
    await channel.read();
    expect(probe.aborted).toBe(0);
    await channel.end();
    await eventually('the channel is over', () => other.isClosed);
    gate.open();
  });

  it('keeps its slot until it has ended, however long the channel is over', async () => {
    const test = await start({ limits: { maxChannels: 1 } });
    const channel = await test.mine.channel('hold');
    await serverSide();
    channel.close();
    await eventually('the signal is aborted', () => probe.aborted === 1);
    expect(test.server.stats().inFlight).toBe(1);
    const second = await test.mine.channel('hold');
    expect(await rejection(second.closed)).toBeInstanceOf(TooManyRequestsError);
    gate.open();
    await idle(test);
    const third = await test.mine.channel('hold');
    await third.closed;
  });
});

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

  it('is an empty map where the client says nothing', async () => {
    const { mine } = await start();
    const channel = await mine.channel('hold');
    expect((await serverSide()).metadata).toEqual({});
    gate.open();
    await channel.closed;
  });

  it('is its signal: aborted at the end, with the error where there is one', async () => {
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

describe('loop()', () => {
  it('is true as long as something is there or may come', async () => {
    const test = await start();
    const channel = await test.mine.channel<number, number>('loop');
    await channel.write(1);
    expect(await channel.read()).toBe(2);
    expect(await channel.loop()).toBe(true);
    await channel.end();
    await idle(test);
    expect(probe.ended).toBe(1);
    await channel.closed;
    expect(await channel.loop()).toBe(false);
  });

  it('goes on over what came before the end', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('closes');
    await channel.write('in order');
    await channel.closed;
    expect(await channel.loop()).toBe(true);
    expect(await channel.read()).toBe('bye');
    expect(await channel.loop()).toBe(false);
  });

  it('is over when its condition is', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    let rounds = 0;
    while (await channel.loop(rounds < 3)) {
      await channel.write(rounds);
      expect(await channel.read()).toBe(rounds++);
    }
    expect(rounds).toBe(3);
    expect(channel.isClosed).toBe(false);
    channel.close();
  });

  it('lets others work where a loop does nothing else', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    let answered = false;
    const call = mine.call('sum', { a: 1, b: 2 }).then(() => (answered = true));
    while (await channel.loop(!answered));
    await call;
    channel.close();
  });
});

describe('toObservable()', () => {
  it('emits the messages and completes with the channel', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    const all = lastValueFrom(channel.toObservable().pipe(toArray()));
    for (const n of [1, 2, 3]) await channel.write(n);
    await channel.end();
    expect(await all).toEqual([1, 2, 3]);
  });

  it('fails with the error of the channel', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('throws');
    const seen: unknown[] = [];
    const failed = new Promise((resolve) =>
      channel.toObservable().subscribe({ next: (line) => seen.push(line), error: resolve }),
    );
    await channel.write('me');
    expect(await failed).toBeInstanceOf(AuthError);
    expect(seen).toEqual(['before']);
  });

  it('takes no more than it emits', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    for (const n of [1, 2, 3]) await channel.write(n);
    expect(await firstValueFrom(channel.toObservable())).toBe(1);
    expect(await within('the second message', channel.read())).toBe(2);
    channel.close();
  });

  it('takes nothing more after unsubscribe', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    const seen: number[] = [];
    const subscription = channel.toObservable().subscribe((n) => seen.push(n));
    await channel.write(1);
    await eventually('the first message', () => seen.length === 1);
    subscription.unsubscribe();
    await turn();
    await channel.write(2);
    expect(await within('the second message', channel.read())).toBe(2);
    expect([seen, channel.isClosed]).toEqual([[1], false]);
    channel.close();
  });

  it('works in a handler', async () => {
    const { mine } = await start();
    const channel = await mine.channel<unknown, number>('toObservable');
    for (const n of [1, 2]) await channel.write(n);
    expect(await channel.read()).toEqual([1, 2]);
    await channel.write(3);
    expect(await within('the third message', channel.read())).toBe(3);
    channel.close();
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
