import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type ArgumentsHost,
  type CanActivate,
  Catch,
  Controller,
  type ExecutionContext,
  Injectable,
  UseFilters,
  UseGuards,
} from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, from, Observable, throwError, toArray } from 'rxjs';
import {
  AuthError,
  ChannelPattern,
  defineService,
  duplex,
  MessageMiddleware,
  RapChannel,
  RapClient,
  type RapClientOptions,
  RapContext,
  type RapProcessor,
  type RapServerOptions,
  serverStream,
  TooManyRequestsError,
  unary,
} from '../../../lib/index.js';
import { eventually, Gate, rejection, testScope } from '../../helpers/async.js';
import { answerDeclare, type RawFrame, scriptedServer } from '../../helpers/raw-socket.js';
import { collect } from '../../helpers/streams.js';

type Seen = Readonly<Record<string, unknown>>;

const scope = testScope();
let gate: Gate;
let seen: Seen[];
const onHeader = (header: Seen): void => void seen.push(header);

beforeEach(() => {
  gate = new Gate();
  seen = [];
});

@Injectable()
class Closed implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    context.switchToRpc().getContext<RapContext>().setHeader('x-guard', 'closed');
    return false;
  }
}

@Catch()
class Marking {
  catch(error: unknown, host: ArgumentsHost): Observable<never> {
    host.switchToRpc().getContext<RapContext>().setHeader('x-filter', 'marked');
    return throwError(() => error);
  }
}

@Controller()
class Headers {
  @MessagePattern('plain', { kind: 'unary' })
  plain(): string {
    return 'plain';
  }

  @MessagePattern('paid', { kind: 'unary' })
  paid(@Payload() body: unknown, @Ctx() ctx: RapContext): unknown {
    ctx.setHeader('x-cost', 7);
    ctx.setHeader('x-parts', ['a', { b: 1 }]);
    return body;
  }

  @MessagePattern('refused', { kind: 'unary' })
  refused(@Payload() _: unknown, @Ctx() ctx: RapContext): never {
    ctx.setHeader('x-retry-after', 3);
    throw new AuthError('no');
  }

  @MessagePattern('oversized')
  oversized(@Payload() _: unknown, @Ctx() ctx: RapContext): never {
    ctx.setHeader('x-large', 'x'.repeat(10_000));
    throw new AuthError('no');
  }

  @UseGuards(Closed)
  @UseFilters(Marking)
  @MessagePattern('guarded')
  guarded(): void {}

  @MessagePattern('oversized.items')
  async *oversizedItems(@Payload() at: number, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    for (let i = 0; i < 3; i++) {
      if (i === at) ctx.setHeader('x-large', 'x'.repeat(10_000));
      yield await Promise.resolve(i);
    }
    if (at === 3) ctx.setHeader('x-large', 'x'.repeat(10_000));
  }

  @MessagePattern('late')
  async late(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<string> {
    ctx.setHeader('x-late', true);
    await gate.opened;
    return 'late';
  }

  @MessagePattern('items', { kind: 'stream' })
  async *items(@Payload() n: number, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    ctx.setHeader('x-total', n);
    for (let i = 0; i < n; i++) {
      if (i === 2) ctx.setHeader('x-half', true);
      yield await Promise.resolve(i);
    }
    ctx.setHeader('x-sum', n > 0 ? (n * (n - 1)) / 2 : 0);
  }

  @MessagePattern('items.fail')
  async *itemsFail(@Payload() _: unknown, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    yield await Promise.resolve(1);
    ctx.setHeader('x-failed-at', 1);
    throw new AuthError('enough');
  }

  @MessagePattern('observed')
  observed(@Payload() _: unknown, @Ctx() ctx: RapContext): Observable<number> {
    ctx.setHeader('x-total', 2);
    return from([1, 2]);
  }

  @MessagePattern('one')
  one(@Payload() _: unknown, @Ctx() ctx: RapContext): Observable<number> {
    ctx.setHeader('x-total', 1);
    return from([1]);
  }

  @ChannelPattern('talk')
  async talk(@Payload() channel: RapChannel<string, string>, @Ctx() ctx: RapContext): Promise<void> {
    ctx.setHeader('x-room', 'lobby');
    for await (const line of channel) {
      if (line === 'fail') throw new AuthError('no');
      if (line === 'end') break;
      await channel.write(line.toUpperCase(), line === 'part' ? { 'x-part': 3 } : undefined);
    }
    ctx.setHeader('x-left', true);
  }
}

const Contract = defineService('default', {
  paid: unary<unknown, unknown>({ timeoutMs: 5000 }),
  items: serverStream<number, number>(),
  talk: duplex<string, string>(),
});

async function open(options?: RapClientOptions, server?: RapServerOptions): Promise<RapClient> {
  return (await scope.serve([Headers], server)).client(options);
}

async function failLater(): Promise<void> {
  await Promise.resolve();
  throw new Error('broken later');
}

/** A processor that adds to headers. */
const adding = (key: string): RapProcessor => ({
  processResponse: (response) => {
    response.header[key] = response.lifeCycle ?? 'answer';
    response.header['status_code'] = 1;
  },
});

/** A server that answers any call with these frames. */
async function foreign(answer: (id: number) => RawFrame[]): Promise<RapClient> {
  const server = await scriptedServer(async (peer) => {
    await answerDeclare(peer);
    for (;;) {
      const [type, id, { channel_life_cycle: step }] = await peer.next(([it]) => it === 101 || it === 102);
      if (type === 101 || step === 'MSG') peer.send(...answer(id));
      else if (step === 'DECLARE') peer.send([102, id, { channel_life_cycle: 'DECLARE' }, null]);
    }
  });
  const client = new RapClient({ host: '127.0.0.1', port: server.port });
  scope.defer(() => server.close());
  scope.defer(() => client.close());
  return client;
}

describe('a call', () => {
  it('gets the header of its answer, without keys of the protocol, before it resolves', async () => {
    const client = await open();
    const order: string[] = [];
    const answer = await client.call('paid', 'body', {
      onHeader: (header) => {
        order.push('header');
        onHeader(header);
      },
    });
    order.push('value');
    expect([answer, order]).toEqual(['body', ['header', 'value']]);
    expect(seen).toEqual([{ 'x-cost': 7, 'x-parts': ['a', { b: 1 }] }]);
  });

  it('gets an empty header if the handler has set none', async () => {
    const client = await open();
    await client.call('plain', null, { onHeader });
    expect(seen).toEqual([{}]);
  });

  it('that fails gets the header of the error, once', async () => {
    const client = await open();
    const error = await rejection(client.call('refused', null, { onHeader }));
    expect(error).toBeInstanceOf(AuthError);
    expect(seen).toEqual([{ 'x-retry-after': 3 }]);
  });

  it('fails with its error even if the header with it cannot be sent', async () => {
    const client = await open();
    const error = await rejection(client.call('oversized', null, { onHeader }));
    expect(error).toBeInstanceOf(AuthError);
    expect(seen).toEqual([{}]);
  });

  it('that a guard refuses gets the header of guard and filter', async () => {
    const client = await open();
    await rejection(client.call('guarded', null, { onHeader }));
    expect(seen).toEqual([{ 'x-guard': 'closed', 'x-filter': 'marked' }]);
  });

  it('that the server times out gets what was set until then', async () => {
    const client = await open({}, { runTimeoutMs: 50 });
    await rejection(client.call('late', null, { onHeader }));
    expect(seen).toEqual([{ 'x-late': true }]);
    gate.open();
  });

  it('that is cancelled, or has no server, gets none', async () => {
    const client = await open();
    const controller = new AbortController();
    const call = rejection(client.call('late', null, { onHeader, signal: controller.signal }));
    await eventually('it was sent', () => client.stats().inFlight === 1);
    controller.abort();
    await call;
    gate.open();
    await client.call('plain');
    const nowhere = new RapClient({ host: '127.0.0.1', port: 1, callTimeoutMs: 50 });
    scope.defer(() => nowhere.close());
    await rejection(nowhere.call('plain', null, { onHeader }));
    expect(seen).toEqual([]);
  });

  it('rejects with what onHeader throws, also in place of the error of the server', async () => {
    const client = await open();
    const broken = new Error('broken');
    const onBroken = (): never => {
      throw broken;
    };
    expect(await rejection(client.call('paid', 1, { onHeader: onBroken }))).toBe(broken);
    expect(await rejection(client.call('refused', 1, { onHeader: onBroken }))).toBe(broken);
    expect(client.stats().inFlight).toBe(0);
    expect(await client.call('paid', 'still works')).toBe('still works');
  });

  it('does not wait for an async onHeader, whose failure is logged', async () => {
    const test = await scope.serve([Headers]);
    expect(await test.client().call('paid', 1, { onHeader: failLater })).toBe(1);
    await eventually('the log', () => test.log.lines.some((line) => line.includes('onHeader failed')));
  });

  it('calls onHeader in the async context of its caller', async () => {
    const storage = new AsyncLocalStorage<string>();
    const client = await open();
    await client.connect();
    const stores: unknown[] = [];
    const asked = { onHeader: (): void => void stores.push(storage.getStore()) };
    await Promise.all([
      storage.run('first', () => client.call('paid', 1, asked)),
      storage.run('second', () => client.call('refused', 1, asked).catch(() => {})),
    ]);
    await storage.run('third', () => collect(client.stream('items', 1, asked)));
    expect(stores).toEqual(['first', 'second', 'third', 'third']);
  });

  it('refuses what is not a function', async () => {
    const client = await open();
    const error = await rejection(client.call('plain', 1, { onHeader: {} as never }));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toBe('onHeader must be a function');
  });

  it('gets it in a session, and through a serializer', async () => {
    const client = await open({ deserializer: { deserialize: (packet: unknown) => packet as never } });
    const session = await client.openSession();
    await session.call('paid', 1, { onHeader });
    session.close();
    expect(seen).toMatchObject([{ 'x-cost': 7 }]);
  });

  it('gets it if a middleware answers', async () => {
    class Twice extends MessageMiddleware {
      async use(_: unknown, next: () => Promise<unknown>): Promise<unknown> {
        return [await next(), 'more'];
      }
    }
    const client = await open({}, { middleware: [new Twice()] });
    expect(await client.call('paid', 1, { onHeader })).toEqual([1, 'more']);
    expect(seen).toMatchObject([{ 'x-cost': 7 }]);
  });
});

describe('a stream', () => {
  it('gets a header with the item that it came with, and with the end', async () => {
    const client = await open();
    const read: unknown[] = [];
    for await (const item of client.stream('items', 3, { onHeader: (it) => void read.push(it) }))
      read.push(item);
    expect(read).toEqual([{ 'x-total': 3 }, 0, 1, { 'x-half': true }, 2, { 'x-sum': 3 }]);
  });

  it('that is empty gets it with the end', async () => {
    const client = await open();
    expect(await collect(client.stream('items', 0, { onHeader }))).toEqual([]);
    expect(seen).toEqual([{ 'x-total': 0, 'x-sum': 0 }]);
  });

  it('ends with an error if a header cannot be sent with an item, and in order without it at the end', async () => {
    const client = await open();
    const error = await rejection(collect(client.stream('oversized.items', 1, { onHeader })));
    expect(error.message).toContain('header');
    expect(await collect(client.stream('oversized.items', 3, { onHeader }))).toEqual([0, 1, 2]);
    expect(seen).toEqual([]);
  });

  it('that fails gets it with the error', async () => {
    const client = await open();
    expect(await rejection(collect(client.stream('items.fail', 0, { onHeader })))).toBeInstanceOf(AuthError);
    expect(seen).toEqual([{ 'x-failed-at': 1 }]);
  });

  it.each<[string, (client: RapClient, options: object) => Promise<unknown>]>([
    ['as an Observable', (c, o) => firstValueFrom(c.stream('items', 3, o).toObservable().pipe(toArray()))],
    ['as a Readable', (c, o) => c.stream('items', 3, o).toReadable().toArray()],
    [
      'of session.execute',
      async (c, o) => {
        const session = await c.openSession();
        scope.defer(() => session.close());
        return collect((await session.execute('items', 3, o)) as AsyncIterable<number>);
      },
    ],
    [
      'of a controller, awaited',
      async (c, o) => {
        const { undecided } = c.controller(Undecided) as never as Record<
          string,
          (...args: unknown[]) => unknown
        >;
        return collect((await undecided?.(3, o)) as AsyncIterable<number>);
      },
    ],
    [
      'of a controller, read',
      (c, o) => {
        const { undecided } = c.controller(Undecided) as never as Record<
          string,
          (...args: unknown[]) => unknown
        >;
        return collect(undecided?.(3, o) as AsyncIterable<number>);
      },
    ],
    [
      'of a controller, as an Observable',
      (c, o) => {
        const { undecided } = c.controller(Undecided) as never as Record<
          string,
          (...args: unknown[]) => unknown
        >;
        return firstValueFrom(from(undecided?.(3, o) as AsyncIterable<number>).pipe(toArray()));
      },
    ],
  ])('%s gets the same', async (_, read) => {
    const client = await open();
    expect(await read(client, { onHeader })).toEqual([0, 1, 2]);
    expect(seen).toEqual([{ 'x-total': 3 }, { 'x-half': true }, { 'x-sum': 3 }]);
  });

  it('of an Observable gets it, be it one value or several', async () => {
    const client = await open();
    expect(await collect(client.stream('observed', null, { onHeader }))).toEqual([1, 2]);
    expect(await client.call('one', null, { onHeader })).toBe(1);
    expect(seen).toEqual([{ 'x-total': 2 }, { 'x-total': 1 }]);
  });

  it.each<[string, (client: RapClient, options: object) => Promise<unknown>]>([
    ['with for await', (c, o) => collect(c.stream('items', 3, o))],
    ['as an Observable', (c, o) => firstValueFrom(c.stream('items', 3, o).toObservable().pipe(toArray()))],
  ])('ends with what onHeader throws: %s', async (_, read) => {
    const test = await scope.serve([Headers]);
    const client = test.client();
    const broken = new Error('broken');
    const failed = await rejection(
      read(client, {
        onHeader: () => {
          throw broken;
        },
      }),
    );
    expect(failed).toBe(broken);
    await eventually('the end', () => test.server.stats().inFlight === 0);
  });
});

@Controller()
class Undecided {
  @MessagePattern('items')
  undecided(_n: number): unknown {
    return _n;
  }
}

describe('a channel', () => {
  it.each<[string, (channel: RapChannel<string, string>) => Promise<unknown>]>([
    [
      'read()',
      async (channel) => {
        const lines = [];
        for (let line = await channel.read(); line !== undefined; line = await channel.read())
          lines.push(line);
        return lines;
      },
    ],
    ['for await', (channel) => collect(channel)],
    ['messages()', async (channel) => (await collect(channel.messages())).map(({ body }) => body)],
    ['toObservable()', (channel) => firstValueFrom(channel.toObservable().pipe(toArray()))],
    ['toReadable()', (channel) => channel.toReadable().toArray()],
  ])('gets it with the message that is read, and with the end: %s', async (_, read) => {
    const client = await open();
    const channel = await client.channel<string, string>('talk', { onHeader });
    for (const line of ['one', 'part', 'end']) await channel.write(line);
    expect(await read(channel)).toEqual(['ONE', 'PART']);
    expect(seen).toEqual([{ 'x-room': 'lobby' }, { 'x-part': 3 }, { 'x-left': true }]);
  });

  it('gets it with the error that ends it', async () => {
    const client = await open();
    const channel = await client.channel<string, string>('talk', { onHeader });
    await channel.write('fail');
    expect(await rejection(channel.read())).toBeInstanceOf(AuthError);
    expect(seen).toEqual([{ 'x-room': 'lobby' }]);
  });

  it('ends with what onHeader throws', async () => {
    const test = await scope.serve([Headers]);
    const channel = await test.client().channel<string, string>('talk', {
      onHeader: () => {
        throw new Error('broken');
      },
    });
    await channel.write('one');
    expect((await rejection(channel.read())).message).toBe('broken');
    expect(channel.isClosed).toBe(true);
    await eventually('the end', () => test.server.stats().inFlight === 0);
  });
});

it('typed proxies take it, too', async () => {
  const client = await open();
  const service = client.service(Contract);
  await service.paid(1, { onHeader });
  await collect(service.items(1, { onHeader }));
  const channel = await service.talk({ onHeader });
  await channel.write('end');
  await collect(channel);
  await client.controller(Headers).paid(1, { onHeader });
  expect(seen).toEqual([
    { 'x-cost': 7, 'x-parts': ['a', { b: 1 }] },
    { 'x-total': 1 },
    { 'x-sum': 0 },
    { 'x-room': 'lobby', 'x-left': true },
    { 'x-cost': 7, 'x-parts': ['a', { b: 1 }] },
  ]);
});

describe('with processors', () => {
  it('the header is that after the processors of both sides, of a call and of an error', async () => {
    const client = await open({ processors: [adding('client')] }, { processors: [adding('server')] });
    await client.call('paid', 1, { onHeader });
    await rejection(client.call('refused', 1, { onHeader }));
    expect(seen).toEqual([
      { 'x-cost': 7, 'x-parts': ['a', { b: 1 }], client: 'answer', server: 'answer' },
      { 'x-retry-after': 3, client: 'answer', server: 'answer' },
    ]);
  });

  it('the same of a stream, and of its error', async () => {
    const client = await open({ processors: [adding('client')] }, { processors: [adding('server')] });
    await collect(client.stream('items', 1, { onHeader }));
    await rejection(collect(client.stream('items.fail', 1, { onHeader })));
    expect(seen).toEqual([
      { 'x-total': 1, client: 'MSG', server: 'MSG' },
      { 'x-sum': 0 },
      { client: 'MSG', server: 'MSG' },
      { 'x-failed-at': 1, client: 'DROP' },
    ]);
  });

  it('an error that a processor of the client makes of an answer has the header of that', async () => {
    const broken: RapProcessor = {
      processResponse: () => {
        throw new Error('broken');
      },
    };
    const client = await open({ processors: [broken] });
    expect((await rejection(client.call('paid', 1, { onHeader }))).message).toBe('broken');
    expect(seen).toMatchObject([{ 'x-cost': 7 }]);
  });
});

describe('of several servers', () => {
  it('the header is that of the attempt that counts', async () => {
    let asked = 0;
    @Controller()
    class Busy {
      @MessagePattern('busy', { idempotent: true })
      busy(@Payload() failures: number, @Ctx() ctx: RapContext): number {
        asked += 1;
        ctx.setHeader('x-attempt', asked);
        if (asked <= failures) throw new TooManyRequestsError('busy');
        return asked;
      }
    }
    const apps = [await scope.serve([Busy, Headers]), await scope.serve([Busy, Headers])];
    const client = new RapClient({
      servers: apps.map(({ port }) => ({ host: '127.0.0.1', port })),
      retry: { maxAttempts: 2 },
    });
    scope.defer(() => client.close());
    expect(await client.call('busy', 1, { onHeader, idempotent: true })).toBe(2);
    asked = 0;
    await rejection(client.call('busy', 2, { onHeader, idempotent: true }));
    await collect(client.stream('items', 1, { onHeader }));
    expect(seen).toEqual([{ 'x-attempt': 2 }, { 'x-attempt': 2 }, { 'x-total': 1 }, { 'x-sum': 0 }]);
  });
});

describe('a peer of another make', () => {
  it('sends headers of its own with an answer, an item and an end', async () => {
    const client = await foreign((id) => [
      [102, id, { channel_life_cycle: 'MSG', host: 'py', status_code: 200 }, 1],
      [102, id, { channel_life_cycle: 'DROP', reason: 'done' }, null],
    ]);
    expect(await collect(client.stream('x', {}, { onHeader }))).toEqual([1]);
    const other = await foreign((id) => [[101, id, { status_code: 200, host: 'py' }, 1]]);
    expect(await other.call('x', {}, { onHeader })).toBe(1);
    expect(seen).toEqual([{ host: 'py' }, { reason: 'done' }, { host: 'py' }]);
  });

  it('cannot reach prototypes, nor cost memory with keys that are indices', async () => {
    const header = { '4294967294': 1, '1000000': 2, toString: 'x', hasOwnProperty: 1 };
    const client = await foreign((id) => [[101, id, header, 'fine']]);
    expect(await client.call('x', {}, { onHeader })).toBe('fine');
    expect(Object.getPrototypeOf(seen[0])).toBe(Object.prototype);
    expect(Object.entries(seen[0] ?? {})).toEqual(Object.entries(header));
  });

  it('that sends a key of the prototype is disconnected, and the call fails', async () => {
    const client = await foreign((id) => [[101, id, JSON.parse('{"__proto__":{"polluted":1}}') as never, 1]]);
    await rejection(client.call('x', {}, { onHeader }));
    expect(seen).toEqual([]);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});
