import 'reflect-metadata';
import { Controller, Inject, Logger, Module } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { jest } from '@jest/globals';
import { lastValueFrom } from 'rxjs';
import { z } from 'zod';
import {
  CallCancelledError,
  CallTimeoutError,
  clientStream,
  defineService,
  duplex,
  FuncNotFoundError,
  InjectRapClient,
  InjectRapService,
  ParseError,
  RapClient,
  RapContext,
  RapError,
  RapModule,
  registerError,
  type RapServiceClient,
  serverStream,
  unary,
} from '../../lib/index.js';
import {
  createRapTestBed,
  expectNoLeaks,
  mockChannel,
  mockClient,
  mockService,
  rapServiceToken,
} from '../../lib/testing.js';
import { rejection } from '../helpers/async.js';

class OutOfStockError extends RapError {}
registerError(OutOfStockError);

const MathService = defineService('math', {
  sum: unary<{ a: number; b: number }, number>(),
  square: unary({ input: z.object({ n: z.number() }), output: z.number() }),
  count: serverStream<{ n: number }, number>(),
  total: clientStream<number, number>(),
  chat: duplex<string, string>(),
});

interface Sum {
  a: number;
  b: number;
}

beforeAll(() => Logger.overrideLogger(false));
afterEach(() => expectNoLeaks());

describe('mockClient', () => {
  it('is a client whose calls go to functions', async () => {
    const seen: unknown[] = [];
    const client = mockClient({
      sum: ({ a, b }: Sum) => a + b,
      '/math/square': (n: number) => Promise.resolve(n * n),
      async *count({ n }: { n: number }) {
        for (let i = 0; i < n; i++) yield await Promise.resolve(i);
      },
      chat: mockChannel<string, string>(async (channel) => {
        for await (const line of channel) await channel.write(line.toUpperCase());
      }),
      'user.created': (user: unknown) => seen.push(user),
      who: (_data: unknown, context: RapContext) => [context.target, context.session !== undefined],
    });
    expect(client).toBeInstanceOf(RapClient);
    expect(await client.call('sum', { a: 1, b: 2 })).toBe(3);
    expect(await client.call({ group: 'math', name: 'square' }, 3)).toBe(9);
    expect(await lastValueFrom(client.send('sum', { a: 2, b: 2 }))).toBe(4);
    const items: number[] = [];
    for await (const item of client.stream<number>('count', { n: 3 })) items.push(item);
    expect(items).toEqual([0, 1, 2]);
    const chat = await client.channel<string, string>('chat');
    await chat.write('hello');
    expect(await chat.read()).toBe('HELLO');
    await chat.end();
    await chat.closed;
    await lastValueFrom(client.emit('user.created', { id: 1 }), { defaultValue: undefined });
    expect(seen).toEqual([{ id: 1 }]);
    expect(await client.call('who')).toEqual(['/default/who', false]);
    expect(await client.withSession((session) => session.call('who'))).toEqual(['/default/who', true]);
    expect(
      await client
        .service(MathService)
        .total([1])
        .catch((error: unknown) => error),
    ).toBeInstanceOf(FuncNotFoundError);
  });

  it('calls spies with what was sent, and nothing else', async () => {
    const sum = jest.fn(({ a, b }: Sum) => a + b);
    const nothing = jest.fn();
    const client = mockClient({ sum, nothing });
    expect(await client.call('sum', { a: 1, b: 2 })).toBe(3);
    expect(sum.mock.calls).toEqual([[{ a: 1, b: 2 }]]);
    await client.call('nothing', 'x');
    expect(nothing.mock.calls).toEqual([['x']]);
    const call = jest.spyOn(client, 'call').mockResolvedValueOnce(9);
    expect(await client.call('sum', { a: 1, b: 2 })).toBe(9);
    expect(call).toHaveBeenCalledTimes(1);
    sum.mockReturnValueOnce(11);
    expect(await client.call('sum', { a: 1, b: 2 })).toBe(11);
  });

  it('looks its functions up at each call', async () => {
    const handlers = { sum: ({ a, b }: Sum) => a + b };
    const client = mockClient(handlers);
    jest.spyOn(handlers, 'sum').mockReturnValue(5);
    expect(await client.call('sum', { a: 1, b: 2 })).toBe(5);
  });

  it('copies values', async () => {
    const shared = { list: [1] };
    const client = mockClient({ get: () => shared });
    const got = await client.call<typeof shared>('get');
    got.list.push(2);
    expect(shared.list).toEqual([1]);
  });

  it('gives the errors of a server', async () => {
    const client = mockClient(
      {
        buy: () => {
          throw new OutOfStockError('no more');
        },
        never: () => new Promise(() => {}),
        slow: (_data: unknown, { signal }: RapContext) =>
          new Promise((resolve) => signal.addEventListener('abort', () => resolve(0))),
      },
      { client: { callTimeoutMs: 60_000 } },
    );
    expect(await rejection(client.call('buy'))).toBeInstanceOf(OutOfStockError);
    expect(await rejection(client.call('slow', undefined, { timeoutMs: 5 }))).toBeInstanceOf(
      CallTimeoutError,
    );
    const controller = new AbortController();
    const call = rejection(client.call('slow', undefined, { signal: controller.signal }));
    await client.ping();
    controller.abort();
    expect(await call).toBeInstanceOf(CallCancelledError);
  });

  it.each([
    ['call', (client: RapClient) => client.call('nope')],
    ['send', (client: RapClient) => lastValueFrom(client.send('nope', {}))],
    ['emit', (client: RapClient) => lastValueFrom(client.emit('nope', {}))],
    ['stream', (client: RapClient) => client.stream('nope')[Symbol.asyncIterator]().next()],
    ['channel', (client: RapClient) => client.channel('nope')],
    ['session', (client: RapClient) => client.withSession((session) => session.execute('nope'))],
  ])('names what is missing and what is there: %s', async (_, use) => {
    const client = mockClient({ sum: () => 1, '/math/square': () => 2 });
    const error = await rejection(Promise.resolve(use(client)));
    expect(error).toBeInstanceOf(FuncNotFoundError);
    expect(error.message).toBe(
      'mockClient() has no handler for /default/nope; it has /default/sum, /math/square',
    );
  });

  it('passes on the error of a handler that does not find something itself', async () => {
    const client = mockClient({
      find: () => {
        throw new FuncNotFoundError('no plugin of this name');
      },
    });
    expect((await rejection(client.call('find'))).message).toBe('no plugin of this name');
  });

  it.each([
    [{ sum: 3 }, 'mockClient(): sum needs a function, got 3'],
    [undefined, 'mockClient() needs handlers by pattern, got undefined'],
    [
      { sum: () => 1, '/default/sum': () => 2 },
      'mockClient(): two handlers for one target, of sum, /default/sum',
    ],
  ])('refuses %j', (handlers, message) => {
    expect(() => mockClient(handlers as never)).toThrow(message);
  });

  it('refuses a channel handler that is not a function', () => {
    expect(() => mockChannel(5 as never)).toThrow('mockChannel() needs a function, got 5');
  });

  it('may be closed, and used again', async () => {
    const client = mockClient({ sum: () => 1 });
    expect(await client.call('sum')).toBe(1);
    client.close();
    expect(await client.call('sum')).toBe(1);
    client.close();
  });
});

/** The message for a method without a handler. */
function missing(name: string): string {
  return `mockService() of "math" has no handler for ${name}; it has sum`;
}

describe('mockService', () => {
  it('has the methods of the contract', async () => {
    const math = mockService(MathService, {
      sum: ({ a, b }) => a + b,
      square: ({ n }) => n * n,
      async *count({ n }) {
        for (let i = 0; i < n; i++) yield await Promise.resolve(i);
      },
      async total(items) {
        let total = 0;
        for await (const item of items) total += item;
        return total;
      },
      async chat(channel) {
        for await (const line of channel) await channel.write(line.toUpperCase());
      },
    });
    expect(await math.sum({ a: 1, b: 2 })).toBe(3);
    expect(await math.square({ n: 3 })).toBe(9);
    const items: number[] = [];
    for await (const item of math.count({ n: 3 })) items.push(item);
    expect(items).toEqual([0, 1, 2]);
    expect(await math.total([1, 2, 3])).toBe(6);
    const chat = await math.chat();
    await chat.write('hello');
    expect(await chat.read()).toBe('HELLO');
    await chat.end();
    await chat.closed;
  });

  it('checks values against the schemas of both sides', async () => {
    const math = mockService(MathService, { square: () => 'nine' as never });
    expect(await rejection(math.square({ n: 'three' as never }))).toBeInstanceOf(ParseError);
    expect(await rejection(math.square({ n: 3 }))).toBeInstanceOf(RapError);
  });

  it('can be spied on', async () => {
    const sum = jest.fn(({ a, b }: Sum) => a + b);
    const math = mockService(MathService, { sum });
    const spy = jest.spyOn(math, 'sum');
    expect(await math.sum({ a: 1, b: 2 })).toBe(3);
    expect(spy).toHaveBeenCalledWith({ a: 1, b: 2 });
    expect(sum.mock.calls).toEqual([[{ a: 1, b: 2 }]]);
    spy.mockResolvedValueOnce(9);
    expect(await math.sum({ a: 1, b: 2 })).toBe(9);
  });

  it('names what is missing and what is there', async () => {
    const math = mockService(MathService, { sum: () => 1 });
    expect(await rejection(math.square({ n: 1 }))).toMatchObject({
      name: 'FuncNotFoundError',
      message: missing('square'),
    });
    expect((await rejection(math.count({ n: 1 })[Symbol.asyncIterator]().next())).message).toBe(
      missing('count'),
    );
    expect((await rejection(math.total([1]))).message).toBe(missing('total'));
    const chat = await math.chat();
    expect((await rejection(chat.read())).message).toBe(missing('chat'));
  });

  it.each([
    [
      { summ: () => 1 },
      'mockService(): service "math" has no method "summ"; it has sum, square, count, total, chat',
    ],
    [{ sum: 1 }, 'mockService(): sum needs a function, got 1'],
    [undefined, 'mockService() needs handlers by method, got undefined'],
  ])('refuses %j', (handlers, message) => {
    expect(() => mockService(MathService, handlers as never)).toThrow(message);
  });

  it('refuses what is not a contract', () => {
    expect(() => mockService({} as never, {})).toThrow(
      'mockService(): [object Object] is not a contract of defineService',
    );
  });
});

describe('mocks in a test bed', () => {
  @Controller()
  class Shop {
    // oxlint-disable-next-line typescript/parameter-properties -- Nest's way
    constructor(
      @InjectRapClient('STOCK') private readonly stock: RapClient,
      @InjectRapService(MathService) private readonly math: RapServiceClient<typeof MathService>,
      @Inject('TAX') private readonly tax: number,
    ) {}

    @MessagePattern('total')
    async total(): Promise<number> {
      return this.math.sum({ a: await this.stock.call<number>('price', 'tea'), b: this.tax });
    }
  }

  @Module({
    imports: [RapModule.register([{ name: 'STOCK', services: [MathService], host: 'stock.invalid' }])],
    controllers: [Shop],
    providers: [{ provide: 'TAX', useValue: 100 }],
  })
  class ShopModule {}

  it('take the place of the clients and services of modules', async () => {
    const price = jest.fn(() => 7);
    const bed = await createRapTestBed({
      modules: [ShopModule],
      overrides: [
        { provide: 'STOCK', useValue: mockClient({ price }) },
        {
          provide: rapServiceToken(MathService),
          useValue: mockService(MathService, { sum: ({ a, b }) => a + b }),
        },
        { provide: 'TAX', useValue: 2 },
      ],
    });
    expect(await bed.client.call('total')).toBe(9);
    expect(price.mock.calls).toEqual([['tea']]);
    await bed.close();
  });
});
