import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { eventually, testScope, within } from '../helpers/async.js';
import { Counter, numbers } from '../nest/streams/sources.js';

describe('a streaming function that is called as a channel', () => {
  const scope = testScope();
  let counter = new Counter();

  @Controller()
  class CountController {
    @MessagePattern('count')
    count(): AsyncIterable<number> {
      return counter.async();
    }
  }

  it('gets nothing of it: the caller is told how to call it', async () => {
    counter = new Counter(3);
    const client = (await scope.serve([CountController])).client();
    const channel = await client.channel<number>('count');
    await expect(channel.closed).rejects.toThrow(
      '/default/count is unary: use call(), or stream() if it streams',
    );
    expect([counter.pulled, client.stats().channels]).toEqual([0, 0]);
  });

  it('gets its parameters as the first message of a stream, and ends that with its last item', async () => {
    counter = new Counter(3);
    const client = (await scope.serve([CountController])).client();
    const items: number[] = [];
    for await (const item of client.stream<number>('count', {})) items.push(item);
    expect([items, client.stats().channels]).toEqual([numbers(3), 0]);
  });

  it.each([
    ['ends its side', (channel: { end(): Promise<void> }) => channel.end()],
    ['closes', (channel: { close(): void }) => channel.close()],
  ])('leaves nobody waiting if the client %s before it has sent any', async (_, over) => {
    counter = new Counter(3);
    const app = await scope.serve([CountController]);
    const client = app.client();
    const channel = await client.channel<number>('count');
    await over(channel);
    const read = channel.read().catch(() => undefined);
    expect(await within('the end of the channel', read)).toBeUndefined();
    await eventually('no handler and no channel is left', () => {
      return app.server.stats().inFlight === 0 && client.stats().channels === 0;
    });
    expect(counter.pulled).toBe(0);
  });

  it('lets a client that drains go when it leaves its last loop', async () => {
    counter = new Counter();
    const client = (await scope.serve([CountController], { limits: { channelWindowBytes: 1 } })).client();
    const items = client.stream<number>('count')[Symbol.asyncIterator]();
    await items.next();
    const drained = client.drain();
    await items.return?.();
    await within('the end of the connection', drained);
    await eventually('the generator has ended', () => counter.stopped === 1);
  });
});
