import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  ChannelPattern,
  type RapChannel,
  type RapRequest,
  RateLimitProcessor,
  type RateLimitOptions,
  type RateStore,
  TooManyRequestsError,
} from '../../lib/index.js';
import { eventually, rejection, testScope } from '../helpers/async.js';
import { FakeClock } from '../helpers/fake-clock.js';

const scope = testScope();
const ran: unknown[] = [];
beforeEach(() => void ran.splice(0));

@Controller()
class Handlers {
  @MessagePattern('echo')
  echo(@Payload() body: unknown): unknown {
    ran.push(body);
    return body;
  }

  @MessagePattern('free')
  free(): string {
    return 'free';
  }

  @MessagePattern('count')
  *count(@Payload() n: number): Generator<number> {
    ran.push('count');
    for (let i = 0; i < n; i++) yield i;
  }

  @ChannelPattern('chat')
  async chat(@Payload() channel: RapChannel<string, string>): Promise<void> {
    ran.push('chat');
    for await (const line of channel) await channel.write(line);
  }

  @EventPattern('told')
  told(@Payload() body: unknown): void {
    ran.push(body);
  }
}

const byAddress: RateLimitOptions['rules'] = [(_request, context) => context.peer.address];

async function served(options: RateLimitOptions): Promise<{
  client: Awaited<ReturnType<typeof scope.serve>>['client'];
  log: Awaited<ReturnType<typeof scope.serve>>['log'];
}> {
  return scope.serve([Handlers], { processors: [new RateLimitProcessor(options)] });
}

it('answers the excess with 429 and the time to wait, and the handler does not run', async () => {
  const clock = new FakeClock();
  const { client, log } = await served({ rules: byAddress, rate: 2, burst: 3, clock });
  const rap = client();
  expect(await Promise.all([1, 2, 3].map((n) => rap.call('echo', n)))).toEqual([1, 2, 3]);
  const error = await rejection(rap.call('echo', 4));
  expect(error).toBeInstanceOf(TooManyRequestsError);
  expect(error).toMatchObject({
    status: 429,
    code: 'ERR_RAP_TOO_MANY_REQUESTS',
    message: 'Too many requests',
    details: { retryAfterMs: 500 },
  });
  expect(ran).toEqual([1, 2, 3]);
  clock.advance(499);
  await expect(rap.call('echo', 5)).rejects.toMatchObject({ details: { retryAfterMs: 1 } });
  clock.advance(1);
  expect(await rap.call('echo', 6)).toBe(6);
  // an excess is no news
  expect(log.lines).toEqual([]);
});

it('counts by the first rule that has a key; false is not limited, nor is what no rule is about', async () => {
  const { client } = await served({
    rules: [
      ({ name }) => (name === 'free' ? false : undefined),
      { key: ({ target }) => (target === '/default/echo' ? target : undefined), rate: 0.001, burst: 1 },
    ],
  });
  const rap = client();
  for (let i = 0; i < 5; i++) expect(await rap.call('free', null)).toBe('free');
  expect(await rap.call('echo', 1)).toBe(1);
  await expect(rap.call('echo', 2)).rejects.toBeInstanceOf(TooManyRequestsError);
  for (let i = 0; i < 3; i++) rap.emit('told', i).subscribe();
  await eventually('the events came', () => ran.length === 4);
});

it('keeps callers apart by what the rule says', async () => {
  const { client } = await served({
    rules: [({ header }) => String(header['tenant'])],
    rate: 0.001,
    burst: 1,
  });
  const rap = client();
  expect(await rap.call('echo', 1, { header: { tenant: 'a' } })).toBe(1);
  expect(await rap.call('echo', 2, { header: { tenant: 'b' } })).toBe(2);
  await expect(rap.call('echo', 3, { header: { tenant: 'a' } })).rejects.toBeInstanceOf(TooManyRequestsError);
  // a key as long as a peer likes
  const long = 'x'.repeat(4000);
  expect(await rap.call('echo', 4, { header: { tenant: long } })).toBe(4);
  await expect(rap.call('echo', 5, { header: { tenant: long } })).rejects.toBeInstanceOf(
    TooManyRequestsError,
  );
  expect(await rap.call('echo', 6, { header: { tenant: `${long}y` } })).toBe(6);
});

it('drops an excess event', async () => {
  const { client } = await served({ rules: byAddress, rate: 0.001, burst: 2 });
  const rap = client();
  for (let i = 0; i < 5; i++) rap.emit('told', i).subscribe({ error: () => {} });
  await eventually('the first came', () => ran.length === 2);
  await expect(rap.call('echo', 'after')).rejects.toBeInstanceOf(TooManyRequestsError);
  expect(ran).toEqual([0, 1]);
});

it('counts a channel or stream once, however many messages it has', async () => {
  const { client } = await served({ rules: byAddress, rate: 0.001, burst: 2 });
  const rap = client();
  const chat = await rap.channel<string, string>('chat');
  for (let i = 0; i < 10; i++) {
    await chat.write(`line ${i}`);
    expect(await chat.read()).toBe(`line ${i}`);
  }
  chat.close();
  const items: number[] = [];
  for await (const item of rap.stream<number>('count', 5)) items.push(item);
  expect(items).toHaveLength(5);
  const refused = rap.stream<number>('count', 5)[Symbol.asyncIterator]();
  await expect(refused.next()).rejects.toBeInstanceOf(TooManyRequestsError);
  const refusedChat = await rap.channel('chat');
  await expect(refusedChat.closed).rejects.toMatchObject({
    status: 429,
    details: { retryAfterMs: expect.any(Number) as number },
  });
  expect(ran).toEqual(['chat', 'count']);
});

it('counts each message of a channel if the rule says so', async () => {
  const [key] = byAddress as [NonNullable<unknown> & RateLimitOptions['rules'][0]];
  if (typeof key !== 'function') throw new Error('no key');
  const { client } = await served({ rules: [{ key, rate: 0.001, burst: 3, everyMessage: true }] });
  const chat = await client().channel<string, string>('chat'); // counts as one
  for (const line of ['one', 'two']) {
    await chat.write(line);
    expect(await chat.read()).toBe(line);
  }
  await chat.write('three');
  await expect(chat.closed).rejects.toBeInstanceOf(TooManyRequestsError);
});

it('blocks a key for the block time', async () => {
  const clock = new FakeClock();
  const { client } = await served({ rules: byAddress, rate: 1000, burst: 1, blockTimeMs: 5000, clock });
  const rap = client();
  await rap.call('echo', 1);
  await expect(rap.call('echo', 2)).rejects.toMatchObject({ details: { retryAfterMs: 5000 } });
  clock.advance(4999);
  await expect(rap.call('echo', 3)).rejects.toMatchObject({ details: { retryAfterMs: 1 } });
  clock.advance(1);
  expect(await rap.call('echo', 4)).toBe(4);
});

describe('a store that is down', () => {
  const down: RateStore = { take: () => Promise.reject(new Error('no connection')) };

  it('open: lets calls through, and says so once', async () => {
    const { client, log } = await served({ rules: byAddress, store: down });
    const rap = client();
    for (let i = 0; i < 5; i++) expect(await rap.call('echo', i)).toBe(i);
    expect(log.lines).toEqual([
      'warn RateLimitProcessor: the store fails (no connection): calls are not limited',
    ]);
  });

  it('closed: refuses calls', async () => {
    const { client } = await served({ rules: byAddress, store: down, onStoreError: 'closed' });
    const rap = client();
    for (let i = 0; i < 3; i++)
      await expect(rap.call('echo', i)).rejects.toMatchObject({
        status: 429,
        message: 'The rate limit cannot be read',
        details: { retryAfterMs: 1000 },
      });
    expect(ran).toEqual([]);
  });

  it('does not make calls hang', async () => {
    const silent: RateStore = { take: () => new Promise(() => {}) };
    const { client } = await served({ rules: byAddress, store: silent, storeTimeoutMs: 20 });
    expect(await client().call('echo', 1)).toBe(1);
  });
});

it('a rule that throws fails its call only', async () => {
  const rules: RateLimitOptions['rules'] = [
    ({ body }) => {
      if (body === 'bad') throw new Error('a secret of the rule');
      return 'all';
    },
  ];
  const { client } = await served({ rules });
  const rap = client();
  const error = await rejection(rap.call('echo', 'bad'));
  expect(error.message).not.toContain('secret');
  expect(await rap.call('echo', 'good')).toBe('good');
});

it.each([[5], [null], [{ a: 1 }], [true]])('a key that is %j is no key, and opens no limit', async (key) => {
  const rules = [({ body }: RapRequest) => (body === 'bad' ? key : 'all') as string];
  const { client, log } = await served({ rules, rate: 0.001, burst: 2 });
  const rap = client();
  expect(await rap.call('echo', 1)).toBe(1);
  await expect(rap.call('echo', 'bad')).rejects.toMatchObject({ status: 500 });
  expect(await rap.call('echo', 2)).toBe(2);
  await expect(rap.call('echo', 3)).rejects.toMatchObject({ status: 429 });
  expect(log.lines).toEqual([expect.stringContaining('rules[0].key must give a text, got')]);
  expect(ran).toEqual([1, 2]);
});

it.each([
  [{} as never, 'rules must be a list of rules'],
  [{ rules: [{ key: 'ip' as never }] }, 'rules[0].key must be a function'],
  [{ rules: byAddress, rate: 0 }, 'rules[0].rate must be a number above 0, got 0'],
  [
    { rules: [...byAddress, { key: () => 'a', burst: 0.5 }] },
    'rules[1].burst must be a number of at least 1',
  ],
  [{ rules: [{ key: () => 'a', blockTimeMs: -1 }] }, 'rules[0].blockTimeMs must be a number of at least 0'],
  [{ rules: byAddress, maxKeys: 0 }, 'maxKeys must be a number of at least 1'],
  [{ rules: [{ key: () => 'a', name: '1' }, ...byAddress] }, 'two of them have the same name'],
] satisfies [RateLimitOptions, string][])('refuses %j', (options, message) => {
  expect(() => new RateLimitProcessor(options)).toThrow(RangeError);
  expect(() => new RateLimitProcessor(options)).toThrow(message);
});
