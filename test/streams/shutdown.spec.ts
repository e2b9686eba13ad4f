import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { lastValueFrom, toArray } from 'rxjs';
import { ChannelPattern, ConnectionLostError, RapChannel, type RapContext } from '../../lib/index.js';
import { eventually, rejection, within } from '../helpers/async.js';
import { aborted, collect, collectFailing, idle } from '../helpers/streams.js';
import { gate, probe, type ServeOptions, serveWithClient } from '../helpers/stream-scope.js';

@Controller()
class ShutdownController {
  /** One item now, the rest when the test lets it. */
  @MessagePattern('gated')
  async *gated(@Payload() n: number, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    try {
      yield 0;
      await gate.opened;
      for (let i = 1; i < n; i++) yield i;
    } finally {
      probe.ended += 1;
    }
  }

  @MessagePattern('endless')
  async *endless(@Payload() _: unknown, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    probe.begin(ctx);
    try {
      yield 0;
      await aborted(ctx.signal);
    } finally {
      probe.ended += 1;
    }
  }

  @ChannelPattern('echo')
  async echo(@Payload() channel: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    try {
      for await (const body of channel) await channel.write(body);
    } finally {
      probe.ended += 1;
    }
  }
}

const start = (options?: ServeOptions) =>
  serveWithClient([ShutdownController], options, { reconnect: false });

describe('a server that closes', () => {
  it('lets streams and channels end, and loses nothing of them', async () => {
    const test = await start({ closeTimeoutMs: 4000 });
    const streaming = collect(test.mine.stream('gated', 300));
    const sending = lastValueFrom(test.mine.send('gated', 300).pipe(toArray()));
    const channel = await test.mine.channel('echo');
    await channel.write('before');
    expect(await channel.read()).toBe('before');
    await eventually('all run', () => probe.started === 3);
    const closing = test.server.close();
    await channel.write('during');
    expect(await channel.read()).toBe('during');
    expect(probe.aborted).toBe(0);
    gate.open();
    const all = Array.from({ length: 300 }, (_, i) => i);
    expect(await streaming).toEqual(all);
    expect(await sending).toEqual(all);
    await channel.end();
    await channel.closed;
    await within('the close', closing);
    expect(probe.ended).toBe(3);
  });

  it('ends what is still there after its time: handlers are told, and the client', async () => {
    const test = await start({ closeTimeoutMs: 60 });
    const streaming = collectFailing(test.mine.stream('endless'));
    const channel = await test.mine.channel('echo');
    await eventually('both run', () => probe.started === 2);
    const reading = rejection(channel.read());
    await within('the close', test.server.close());
    const { items, error } = await streaming;
    expect(items).toEqual([0]);
    expect(error).toBeInstanceOf(ConnectionLostError);
    expect(await reading).toBeInstanceOf(ConnectionLostError);
    await eventually('both have ended', () => probe.ended === 2);
    expect(probe.aborted).toBe(2);
  });
});

describe('a client that drains', () => {
  it('lets its streams and channels end before it closes', async () => {
    const test = await start();
    const streaming = collect(test.mine.stream('gated', 10));
    const channel = await test.mine.channel('echo');
    await eventually('both run', () => probe.started === 2);
    let drained = false;
    const draining = test.mine.drain().then(() => (drained = true));
    await channel.write('x');
    expect(await channel.read()).toBe('x');
    gate.open();
    expect(await streaming).toHaveLength(10);
    expect(drained).toBe(false);
    await channel.end();
    await within('the drain', draining);
    expect(probe.aborted).toBe(0);
    await idle(test);
  });
});
