import 'reflect-metadata';
import {
  type CallHandler,
  type CanActivate,
  Catch,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  UseFilters,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { type Observable, of, throwError, tap } from 'rxjs';
import * as v from 'valibot';
import { z } from 'zod';
import {
  AuthError,
  clientStream,
  defineService,
  duplex,
  ParseError,
  RapChannel,
  type RapHandlers,
  RapService,
  ServerError,
  serverStream,
  type StandardSchema,
  unary,
} from '../../lib/index.js';
import { eventually, rejection, testScope } from '../helpers/async.js';
import { details } from './validation-details.js';
import { collect } from '../helpers/streams.js';

const scope = testScope();

/** Holds for even numbers, doubles them, and answers later, as a schema that asks a database would. */
const LaterEven: StandardSchema<number, number> = {
  '~standard': {
    version: 1,
    vendor: 'by hand',
    validate: async (value) => {
      await new Promise((resolve) => setImmediate(resolve));
      return typeof value === 'number' && value % 2 === 0
        ? { value: value * 2 }
        : { issues: [{ message: 'not even' }] };
    },
  },
};

const OrderZod = z.strictObject({
  id: z.int(),
  items: z.array(z.object({ name: z.string().min(1), count: z.number().default(1) })).max(1000),
});

const OrderValibot = v.strictObject({
  id: v.pipe(v.number(), v.integer()),
  items: v.array(v.object({ name: v.pipe(v.string(), v.minLength(1)), count: v.optional(v.number(), 1) })),
});

const good = { id: 1, items: [{ name: 'pen' }] };

describe.each([
  ['zod', OrderZod as StandardSchema<z.input<typeof OrderZod>, z.output<typeof OrderZod>>],
  ['valibot', OrderValibot as StandardSchema<z.input<typeof OrderZod>, z.output<typeof OrderZod>>],
])('the input of a call, with %s', (_, schema) => {
  const calls: unknown[] = [];
  const S = defineService('orders', {
    place: unary({ input: schema, output: z.number() }),
    items: serverStream({ input: schema, output: z.string() }),
  });
  @RapService(S)
  class OrderController implements RapHandlers<typeof S> {
    place(order: z.output<typeof OrderZod>): number {
      calls.push(order);
      return order.id;
    }
    async *items(order: z.output<typeof OrderZod>): AsyncGenerator<string> {
      calls.push(order);
      for (const { name } of order.items) yield name;
    }
  }
  beforeEach(() => {
    calls.length = 0;
  });

  it('reaches the handler as the schema makes it', async () => {
    const { client } = await scope.serve([OrderController]);
    const orders = client().service(S);

    expect(await orders.place(good)).toBe(1);
    expect(await collect(orders.items(good))).toEqual(['pen']);
    const filled = { id: 1, items: [{ name: 'pen', count: 1 }] };
    expect(calls).toEqual([filled, filled]);
  });

  const bad: [string, unknown, string[]][] = [
    ['a wrong type', { ...good, id: 'x' }, ['id']],
    ['a missing field', { items: [] }, ['id']],
    ['an extra field', { ...good, more: 1 }, ['', 'more']],
    ['nothing', undefined, ['']],
    ['null', null, ['']],
    ['an array', [good], ['', 'id', 'items', '["0"]']],
    ['a text', 'order', ['']],
    [
      'wrong values deep inside',
      { id: 1, items: [{ name: 'a' }, { name: '' }, { name: 5 }] },
      ['items[1].name', 'items[2].name'],
    ],
    ['a huge text', { ...good, id: 'x'.repeat(1_000_000) }, ['id']],
    ['__proto__', JSON.parse('{"id": 1, "items": [{"__proto__": {"name": "x"}}]}'), ['items[0].name']],
    ['a field of another object', { ...good, items: { length: 1, 0: { name: 'a' } } }, ['items']],
    ['not a number', { ...good, id: Number.NaN }, ['id']],
  ];
  it.each(bad)('that is %s is refused with ParseError, and no handler runs', async (_what, body, paths) => {
    const { client } = await scope.serve([OrderController]);
    const rap = client();

    const call = await rejection(rap.call('/orders/place', body));
    const stream = await rejection(collect(rap.stream('/orders/items', body)));

    for (const error of [call, stream]) {
      expect(error).toBeInstanceOf(ParseError);
      expect(error).toMatchObject({ status: 1002, code: 'ERR_RAP_PARSE' });
      for (const { path, message } of details(error)) {
        expect(paths).toContain(path);
        expect(message).not.toBe('');
        expect(Buffer.byteLength(message)).toBeLessThanOrEqual(256);
      }
      expect(details(error).length).toBeGreaterThan(0);
    }
    expect(calls).toEqual([]);
  });

  it('with more issues than a header holds: the first of them arrive, and the message counts the rest', async () => {
    const { client } = await scope.serve([OrderController]);
    const body = { id: 1, items: Array.from({ length: 900 }, () => ({ name: 5 })) };

    const error = await rejection(client().call('/orders/place', body));

    expect(error).toBeInstanceOf(ParseError);
    expect(details(error).length).toBeGreaterThan(8);
    expect(details(error).length).toBeLessThanOrEqual(32);
    expect(details(error)[0]?.path).toBe('items[0].name');
    expect(error.message).toMatch(/\(and 8\d\d more\)$/);
  });
});

describe('a schema that answers later', () => {
  const S = defineService('later', {
    call: unary({ input: LaterEven, output: LaterEven }),
    items: serverStream<number, number>({ input: LaterEven, output: LaterEven }),
    rx: serverStream<void, number>({ output: LaterEven }),
    total: clientStream<number, number>({ input: LaterEven, output: LaterEven }),
    echo: duplex<number, number>({ input: LaterEven, output: LaterEven }),
  });
  @RapService(S)
  class LaterController implements RapHandlers<typeof S> {
    call(value: number): number {
      return value;
    }
    async *items(n: number): AsyncGenerator<number> {
      for (let i = 0; i < n; i++) yield i * 2;
    }
    rx(): Observable<number> {
      return of(2, 4, 6);
    }
    async total(items: RapChannel<number, never>): Promise<number> {
      let total = 0;
      for await (const item of items) total += item;
      return total;
    }
    async echo(channel: RapChannel<number, number>): Promise<void> {
      for await (const value of channel) await channel.write(value);
    }
  }

  it('holds for all kinds, in order', async () => {
    const { client } = await scope.serve([LaterController]);
    const later = client().service(S);

    expect(await later.call(2)).toBe(8);
    expect(await rejection(later.call(3))).toMatchObject({
      status: 1002,
      details: [{ path: '', message: 'not even' }],
    });
    expect(await collect(later.items(2))).toEqual([0, 4, 8, 12]);
    expect(await collect(later.rx())).toEqual([4, 8, 12]);
    expect(await later.total([2, 4])).toBe(24);
    const echo = await later.echo();
    await echo.write(2);
    expect(await echo.read()).toBe(8);
    await echo.write(3);
    expect(await rejection(echo.read())).toBeInstanceOf(ParseError);
  });
});

describe('the items of a channel', () => {
  const S = defineService('items', {
    total: clientStream({ input: z.object({ n: z.number() }), output: z.number().max(100) }),
    echo: duplex({ input: z.string(), output: z.string().max(5) }),
    messages: duplex<string, string>({ input: z.string() }),
    observe: duplex<string, string>({ input: z.string() }),
    swallow: duplex<string, string>({ input: z.string(), output: z.string().max(5) }),
    forgive: duplex<string, string>({ input: z.string() }),
  });
  const seen: unknown[] = [];
  @RapService(S)
  class ItemController implements RapHandlers<typeof S> {
    async total(items: RapChannel<{ n: number }, never>): Promise<number> {
      let total = 0;
      for await (const { n } of items) {
        seen.push(n);
        total += n;
      }
      return total;
    }
    async echo(@Payload() channel: RapChannel<string, string>): Promise<void> {
      expect(channel).toBeInstanceOf(RapChannel);
      for (let line = await channel.read(); line !== undefined; line = await channel.read()) {
        seen.push(line);
        await channel.write(line + line);
      }
    }
    async messages(channel: RapChannel<string, string>): Promise<void> {
      for await (const { body, header } of channel.messages()) await channel.write(body, header);
    }
    observe(channel: RapChannel<string, string>): Observable<void> {
      return channel.toObservable().pipe(tap((line) => void channel.write(line))) as never;
    }
    async swallow(channel: RapChannel<string, string>): Promise<void> {
      await channel.write('much too long').catch((error: unknown) => seen.push(error));
      seen.push(await channel.read());
    }
    async forgive(channel: RapChannel<string, string>): Promise<void> {
      await channel.read().catch((error: unknown) => seen.push(error));
      await channel.write('never mind').catch(() => {});
    }
  }
  beforeEach(() => {
    seen.length = 0;
  });

  it('are checked one by one: the first that does not fit ends it, and the handler never sees it', async () => {
    const { client } = await scope.serve([ItemController]);
    const items = client().service(S);

    expect(await items.total([{ n: 1 }, { n: 2 }])).toBe(3);
    const error = await rejection(items.total([{ n: 1 }, { n: 'x' }, { n: 3 }] as { n: number }[]));

    expect(error).toBeInstanceOf(ParseError);
    expect(details(error)).toMatchObject([{ path: 'n' }]);
    expect(seen).toEqual([1, 2, 1]);
  });

  it.each(['echo', 'messages', 'observe'] as const)('however the handler reads them: %s', async (name) => {
    const { client } = await scope.serve([ItemController]);
    const channel = await client().service(S)[name]();

    await channel.write('ab', { 'x-tag': 1 });
    expect(await channel.read()).toBe(name === 'echo' ? 'abab' : 'ab');
    await channel.write(5 as never);
    const error = await rejection(channel.read());

    expect(error).toBeInstanceOf(ParseError);
    expect(seen).not.toContain(5);
  });

  it('end it also if the handler forgives', async () => {
    const { client } = await scope.serve([ItemController]);
    const channel = await client().service(S).forgive();

    await channel.write(5 as never);

    expect(await rejection(channel.read())).toBeInstanceOf(ParseError);
    await eventually('the handler', () => seen.length === 1);
    expect(seen[0]).toBeInstanceOf(ParseError);
  });

  it('that the handler writes are checked, too: 500, logged, masked', async () => {
    const { client, log } = await scope.serve([ItemController]);
    const echo = await client().service(S).echo();

    await echo.write('abc');
    const error = await rejection(echo.read());

    expect(error).toBeInstanceOf(ServerError);
    expect(error.message).toBe('Internal server error');
    expect(log.lines.join('\n')).toContain('the output of /items/echo does not fit its schema');
  });

  it('that the handler writes end the channel, also if it looks away', async () => {
    const { client } = await scope.serve([ItemController]);
    const channel = await client().service(S).swallow();

    expect(await rejection(channel.read())).toMatchObject({ status: 500, message: 'Internal server error' });
    await eventually('the handler', () => seen.length === 2);
    expect(seen[0]).toBeInstanceOf(ServerError);
    expect(seen[1]).toBeUndefined();
  });

  it('end with a result, which is checked: 500, logged, masked', async () => {
    const { client, log } = await scope.serve([ItemController]);

    const error = await rejection(
      client()
        .service(S)
        .total([{ n: 101 }]),
    );

    expect(error).toMatchObject({ status: 500, message: 'Internal server error' });
    expect(log.lines.join('\n')).toContain('the output of /items/total does not fit its schema');
  });
});

describe('where the input is checked', () => {
  const S = defineService('order', { call: unary({ input: z.coerce.number(), output: z.string() }) });
  const log: unknown[] = [];
  beforeEach(() => {
    log.length = 0;
  });
  class MayNot implements CanActivate {
    canActivate(context: ExecutionContext): boolean {
      log.push(['guard', context.switchToRpc().getData()]);
      return context.switchToRpc().getData() !== 'stranger';
    }
  }
  class Look implements NestInterceptor {
    intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
      log.push(['interceptor', context.switchToRpc().getData()]);
      return next.handle();
    }
  }
  @Catch(ParseError)
  class Translate implements ExceptionFilter {
    catch({ message }: ParseError): Observable<never> {
      return throwError(() => new ParseError(`translated: ${message.slice(0, 7)}`));
    }
  }
  @UseFilters(Translate)
  @UseInterceptors(Look)
  @RapService(S)
  class CallController implements RapHandlers<typeof S> {
    @UseGuards(MayNot)
    call(value: number): string {
      return `${typeof value} ${value}`;
    }
  }

  it('is after all guards and before interceptors, pipes and handler; filters see what it refuses', async () => {
    const { client } = await scope.serve([CallController]);
    const { call } = client().service(S);

    expect(await call('5')).toBe('number 5');
    expect(log).toEqual([
      ['guard', '5'],
      ['interceptor', 5],
    ]);
    expect(await rejection(call('stranger'))).toBeInstanceOf(AuthError);
    expect(await rejection(call('x'))).toMatchObject({ status: 1002, message: 'translated: Invalid' });
    expect(log.length).toBe(4);
  });

  it('holds whatever parameters the method takes, and for events', async () => {
    const T = defineService('parts', { part: unary({ input: z.object({ a: z.number(), b: z.string() }) }) });
    const calls: unknown[] = [];
    @RapService(T)
    class PartController {
      part(@Payload('b') b: string, @Payload('a') a: number): void {
        calls.push([b, a]);
      }
    }
    const served = await scope.serve([PartController]);
    const rap = served.client();

    await rap.service(T).part({ a: 1, b: 'x' });
    expect(await rejection(rap.call('/parts/part', { a: 1, b: 2 }))).toBeInstanceOf(ParseError);
    rap.emit('/parts/part', { a: 'no', b: 'x' });
    await eventually('the log', () => served.log.lines.some((line) => line.includes('expected number')));

    expect(calls).toEqual([['x', 1]]);
  });

  it('of a subclass with another contract is not checked by that of its base', async () => {
    const doubled = z.number().transform((n) => n * 2);
    const V1 = defineService('base', { call: unary({ input: doubled, output: z.number() }) });
    const V2 = defineService('sub', { call: unary({ input: doubled, output: z.number() }) });
    @RapService(V1)
    class BaseController implements RapHandlers<typeof V1> {
      call(n: number): number {
        return n;
      }
    }
    @RapService(V2)
    class SubController extends BaseController implements RapHandlers<typeof V2> {}
    const { client } = await scope.serve([BaseController, SubController]);
    const rap = client();

    expect(await rap.service(V1).call(1)).toBe(2);
    expect(await rap.service(V2).call(1)).toBe(2);
  });
});
