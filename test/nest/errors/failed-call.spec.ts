import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import {
  CallTimeoutError,
  ChannelPattern,
  ConnectionLostError,
  defineService,
  FuncNotFoundError,
  InvokeError,
  RapChannel,
  RapClient,
  type RapContext,
  type RapError,
  RapGroup,
  ServerError,
  serverStream,
  unary,
} from '../../../lib/index.js';
import { eventually, testScope } from '../../helpers/async.js';

const scope = testScope();

@RapGroup('shop')
@Controller()
class Shop {
  @MessagePattern('fail')
  fail(): never {
    throw new InvokeError('no more', { status: 301 });
  }
  @MessagePattern('bug')
  bug(): never {
    throw new TypeError('x is not a function');
  }
  @MessagePattern('hang')
  hang(@Payload() _: unknown, @Ctx() { signal }: RapContext): Promise<void> {
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
  }
  @MessagePattern('count')
  async *count(): AsyncGenerator<number> {
    yield await Promise.resolve(1);
    throw new InvokeError('no more', { status: 301 });
  }
  @ChannelPattern('chat')
  async chat(@Payload() chat: RapChannel): Promise<void> {
    await chat.read();
    throw new InvokeError('no more', { status: 301 });
  }
}

const ShopContract = defineService('shop', {
  fail: unary(),
  count: serverStream<void, number>(),
});

/** The caller whose name stands in the stack. */
class Orders {
  constructor(private readonly run: () => Promise<unknown>) {}

  async place(): Promise<unknown> {
    return await this.run();
  }
}

/** What a caller fails with. */
async function errorOf(run: () => Promise<unknown>): Promise<RapError> {
  try {
    await new Orders(run).place();
  } catch (error) {
    return error as RapError;
  }
  throw new Error('nothing failed');
}

describe('the error of a call says who called what, where and when, and its stack shows the caller', () => {
  it.each<[string, (client: RapClient) => Promise<unknown>, string]>([
    ['call', (client) => client.call('/shop/fail'), '/shop/fail'],
    [
      'call, behind another function',
      async (client) => Promise.all([client.call('/shop/fail'), client.ping()]),
      '/shop/fail',
    ],
    ['service', (client) => client.service(ShopContract).fail(), '/shop/fail'],
    ['controller', async (client) => client.controller(Shop).fail(), '/shop/fail'],
    ['session', (client) => client.withSession((session) => session.call('/shop/fail')), '/shop/fail'],
    ['execute', (client) => client.withSession((session) => session.execute('/shop/fail')), '/shop/fail'],
    [
      'stream',
      async (client) => {
        for await (const _ of client.stream('/shop/count'));
      },
      '/shop/count',
    ],
    [
      'stream of a service',
      async (client) => {
        for await (const _ of client.service(ShopContract).count());
      },
      '/shop/count',
    ],
    [
      'stream of a session',
      async (client) => {
        await client.withSession(async (session) => {
          for await (const _ of (await session.execute('/shop/count')) as AsyncIterable<unknown>);
        });
      },
      '/shop/count',
    ],
    [
      'channel, read',
      async (client) => {
        const chat = await client.channel('/shop/chat');
        await chat.write(1);
        await chat.read();
      },
      '/shop/chat',
    ],
    [
      'channel, iterated',
      async (client) => {
        const chat = await client.channel('/shop/chat');
        await chat.write(1);
        for await (const _ of chat);
      },
      '/shop/chat',
    ],
  ])('%s', async (_name, run, target) => {
    const { client, port } = await scope.serve([Shop]);
    const rap = client();
    await rap.connect();

    const error = await errorOf(() => run(rap));

    expect(error).toBeInstanceOf(InvokeError);
    expect(error.message).toBe('no more');
    const server = `127.0.0.1:${port}`;
    expect(error.call).toEqual({ target, server, afterMs: expect.any(Number) as number });
    const [head, where, ...frames] = (error.stack as string).split('\n');
    expect(head).toBe('InvokeError: no more');
    expect(where).toBe(`    in ${target} on ${server}, after ${error.call?.afterMs} ms`);
    expect(frames.join('\n')).toMatch(/^\s+at (async )?Orders\.place \(.*failed-call\.spec\.ts:\d+:\d+\)/m);
  });

  it('from send(), without a caller to see', async () => {
    const { client, port } = await scope.serve([Shop]);
    const error = await errorOf(() => firstValueFrom(client().send('/shop/fail', {})));
    expect(error.stack).toMatch(
      new RegExp(`^InvokeError: no more\n    in /shop/fail on 127.0.0.1:${port}, after \\d+ ms$`),
    );
  });

  it('if the server explains nothing', async () => {
    const { client, port } = await scope.serve([Shop]);
    const rap = client();
    const error = await errorOf(() => rap.call('/shop/bug'));
    expect(error).toBeInstanceOf(ServerError);
    expect(error.message).toBe('Internal server error');
    expect(error.stack).toContain(`\n    in /shop/bug on 127.0.0.1:${port}, after `);
    expect(error.stack).toMatch(/\n\s+at (async )?Orders\.place/);
  });

  it('if there is no such function, with its group', async () => {
    const { client } = await scope.serve([Shop]);
    const rap = client();
    const error = await errorOf(() => rap.call('/shop/nope'));
    expect(error).toBeInstanceOf(FuncNotFoundError);
    expect(error.message).toBe('Not found func. name: nope, group: shop');
    expect((await errorOf(() => rap.call('fail'))).message).toBe(
      'Not found func. name: fail, group: default',
    );
    const stream = async (): Promise<void> => {
      for await (const _ of rap.stream('/shop/nope'));
    };
    expect((await errorOf(stream)).message).toBe('Not found func. name: nope, group: shop');
  });

  it('if its time is over: how long it took on the clock of the caller', async () => {
    const time = scope.stopTime();
    const { client, server } = await scope.serve([Shop]);
    const rap = client();
    const failing = errorOf(() => rap.call('/shop/hang', {}, { timeoutMs: 400 }));
    await eventually('the call', () => server.stats().inFlight === 1);
    time.pass(400);
    const error = await failing;
    expect(error).toBeInstanceOf(CallTimeoutError);
    expect(error.call?.afterMs).toBe(400);
    expect(error.stack).toMatch(/\n\s+at (async )?Orders\.place/);
  });

  it('if nobody is there, or the connection is lost', async () => {
    const { client, server, close } = await scope.serve([Shop], { closeTimeoutMs: 20 });
    const rap = client({ reconnect: false });
    const lost = errorOf(() => rap.call('/shop/hang', {}));
    await eventually('the call', () => server.stats().inFlight === 1);
    rap.close();
    expect((await lost).stack).toMatch(
      /^ConnectionLostError: .*\n    in \/shop\/hang on .*\n\s+at (async )?Orders\.place/,
    );
    await close();
    for (const run of [
      () => rap.call('/shop/fail'),
      () => rap.channel('/shop/chat'),
      () => rap.connect(),
      () => rap.ping(),
      async () => {
        for await (const _ of rap.stream('/shop/count'));
      },
    ]) {
      const error = await errorOf(run);
      expect(error).toBeInstanceOf(ConnectionLostError);
      expect(error.stack).toMatch(
        /^ConnectionLostError: cannot connect to .*\n    in .* on .*, after \d+ ms\n/,
      );
      expect(error.stack).toMatch(/\n\s+at (async )?Orders\.place/);
    }
  });
});

it('what is told of a call stays here: no property that is listed, nothing in JSON', async () => {
  const { client } = await scope.serve([Shop]);
  const rap = client();
  const error = await errorOf(() => rap.call('/shop/fail'));
  expect(Object.keys(error)).not.toContain('call');
  expect(JSON.stringify(error)).not.toContain('127.0.0.1');
});

it('a stack may be replaced, as any other', async () => {
  const { client } = await scope.serve([Shop]);
  const rap = client();
  const error = await errorOf(() => rap.call('/shop/fail'));
  error.stack = 'mine';
  expect(error.stack).toBe('mine');
});
