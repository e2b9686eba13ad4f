import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { lastValueFrom, of, range, toArray } from 'rxjs';
import { Readable } from 'node:stream';
import { ChannelPattern, RapChannel, RapClient, RapContext, type RapSession } from '../../lib/index.js';
import { serve, type TestApp } from '../helpers/app.js';
import { collect } from '../helpers/streams.js';

let stopped = 0;
@Controller()
class StreamController {
  @MessagePattern('count')
  async *count(@Payload() { n }: { n: number }) {
    try {
      for (let i = 0; i < n; i++) yield i;
    } finally {
      stopped++;
    }
  }
  @MessagePattern('gen') *gen(@Payload() { n }: { n: number }) {
    for (let i = 0; i < n; i++) yield i;
  }
  @MessagePattern('obs') obs(@Payload() { n }: { n: number }) {
    return range(0, n);
  }
  @MessagePattern('readable') readable(@Payload() _: unknown) {
    return Readable.from([1, 2, 3]);
  }
  @MessagePattern('one') one(@Payload() _: unknown) {
    return of(1);
  }
  @MessagePattern('sum') sum(@Payload() { a, b }: { a: number; b: number }) {
    return a + b;
  }
  @MessagePattern('boom') async *boom(@Payload() _: unknown) {
    yield 1;
    throw new Error('x');
  }
  @ChannelPattern('echo')
  async echo(@Payload() channel: RapChannel<string, string>, @Ctx() ctx: RapContext) {
    await channel.write(JSON.stringify(ctx.channelMetadata));
    for await (const line of channel) await channel.write(line.toUpperCase());
  }
  @MessagePattern('remember') remember(@Payload() v: unknown, @Ctx() ctx: RapContext) {
    const before = ctx.session?.state.get('v');
    ctx.session?.state.set('v', v);
    return before ?? null;
  }
}
let app: TestApp;
let client: RapClient;
beforeAll(async () => {
  app = await serve([StreamController]);
  client = app.client();
});
afterAll(() => app.close());
it('streams', async () => {
  expect(await collect(client.stream('count', { n: 3 }))).toEqual([0, 1, 2]);
  expect((await collect(client.stream('count', { n: 30_000 }))).length).toBe(30_000);
  expect(await collect(client.stream('gen', { n: 3 }))).toEqual([0, 1, 2]);
  expect(await collect(client.stream('obs', { n: 3 }))).toEqual([0, 1, 2]);
  expect(await collect(client.stream('readable', { n: 3 }))).toEqual([1, 2, 3]);
  await expect(collect(client.stream('sum', { a: 1, b: 3 }))).rejects.toThrow('unary');
  await expect(collect(client.stream('boom', { a: 1, b: 3 }))).rejects.toThrow('Internal server error');
  await expect(client.call('count', { n: 3 })).rejects.toThrow('use stream()');
  await expect(client.call('echo', { n: 3 })).rejects.toThrow('use channel()');
  expect(await client.call('one', {})).toBe(1);
  expect(await lastValueFrom(client.send('count', { n: 3 }).pipe(toArray()))).toEqual([0, 1, 2]);
  expect(await lastValueFrom(client.send('obs', { n: 3 }).pipe(toArray()))).toEqual([0, 1, 2]);
  for await (const i of client.stream<number>('count', { n: 1e9 })) if (i === 5) break;
  expect(stopped).toBeGreaterThan(2);
});
it('channels', async () => {
  const c = await client.channel<string, string>('echo', { metadata: { room: 1 } });
  expect(await c.read()).toBe('{"room":1}');
  await c.write('a');
  expect(await c.read()).toBe('A');
  await c.write('b');
  await c.end();
  expect(await collect(c)).toEqual(['B']);
  await c.closed;
});
it('sessions', async () => {
  await client.withSession(async (s: RapSession) => {
    expect(await client.call('remember', 1)).toBe(null);
    expect(await s.call('remember', 2)).toBe(1);
    expect(await s.execute('remember', 3)).toBe(2);
    expect(await collect((await s.execute('count', { n: 2 })) as AsyncIterable<number>)).toEqual([0, 1]);
  });
  expect(await client.call('remember', 1)).toBe(null);
});
