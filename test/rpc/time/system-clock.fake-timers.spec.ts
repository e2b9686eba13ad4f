import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { jest } from '@jest/globals';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import { ChannelPattern, type RapChannel } from '../../../lib/index.js';
import { testScope } from '../../helpers/async.js';
import { EventPattern } from '../../helpers/event-pattern.js';

const scope = testScope();
afterEach(() => jest.useRealTimers());

@Controller()
class Things {
  @MessagePattern('echo') echo(@Payload() body: unknown): unknown {
    return body;
  }
  @MessagePattern('count') async *count(@Payload() n: number): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield i;
  }
  @MessagePattern('list') list(@Payload() n: number): number[] {
    return Array.from({ length: n }, (_, i) => i);
  }
  @ChannelPattern('chat') async chat(@Payload() channel: RapChannel<string, string>): Promise<void> {
    for await (const line of channel) await channel.write(line.toUpperCase());
  }
  @EventPattern('happened') happened(): void {}
}

const items = [0, 1, 2, 3, 4, 5, 6, 7];

it.each(['before the client connects', 'after the client has connected'])(
  'a server and a client work while timers are faked %s, and afterwards',
  async (when) => {
    const { client } = await scope.serve([Things]);
    const rap = client();
    if (when.startsWith('after')) await rap.connect();
    jest.useFakeTimers();

    expect(await rap.call('echo', 1)).toBe(1);
    expect(await Promise.all(items.map((i) => rap.call('echo', i)))).toEqual(items);
    expect(await rap.call('echo', 'x'.repeat(1_000_000))).toHaveLength(1_000_000);
    const streamed: number[] = [];
    for await (const i of rap.stream<number>('count', 8)) streamed.push(i);
    expect(streamed).toEqual(items);
    expect(await firstValueFrom(rap.send('count', 8).pipe(toArray()))).toEqual(items);
    const chat = await rap.channel<string, string>('chat');
    await chat.write('a');
    expect(await chat.read()).toBe('A');
    await chat.end();
    await lastValueFrom(rap.emit('happened', 1), { defaultValue: undefined });
    expect(await rap.ping()).toBeGreaterThanOrEqual(0);
    expect(jest.getTimerCount()).toBe(0); // nothing of the package waits for the test

    jest.useRealTimers();
    expect(await rap.call('echo', 2)).toBe(2);
  },
);

it('a call does not time out with the faked clock', async () => {
  const { client } = await scope.serve([Things]);
  const rap = client();
  await rap.connect();
  jest.useFakeTimers();

  const call = rap.call('echo', 1);
  jest.advanceTimersByTime(3_600_000);
  expect(await call).toBe(1);
});

it('a client can be closed while timers are faked, and connect again', async () => {
  const { client } = await scope.serve([Things]);
  const rap = client();
  jest.useFakeTimers();

  expect(await rap.call('echo', 1)).toBe(1);
  rap.close();
  expect(await rap.call('echo', 2)).toBe(2);
  await rap.drain();
});
