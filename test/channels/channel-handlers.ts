import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { lastValueFrom, take, toArray } from 'rxjs';
import { AuthError, ChannelPattern, RapChannel, type RapContext } from '../../lib/index.js';
import { eventually, rejection } from '../helpers/async.js';
import { aborted } from '../helpers/streams.js';
import { gate, notes, probe, type ServeOptions, serveWithClient } from '../helpers/stream-scope.js';

/** The server's side of the channels of a test, and what its handlers met. */
export let channels: RapChannel[] = [];

beforeEach(() => void (channels = []));

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

export const start = (options?: ServeOptions) => serveWithClient([ChannelController], options);

/** The server's side of the last channel. */
export async function serverSide(): Promise<RapChannel> {
  await eventually('the handler has its channel', () => channels.length > 0);
  return channels.at(-1) as RapChannel;
}
