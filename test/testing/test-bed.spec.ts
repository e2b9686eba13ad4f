import 'reflect-metadata';
import { Controller, Inject, Injectable, Module, UseGuards, type CanActivate } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  ChannelPattern,
  ConnectionLostError,
  CryptoProcessor,
  defineService,
  type FuncNotFoundError,
  MessageMiddleware,
  RapChannel,
  RapContext,
  type RapHandlers,
  RapError,
  RapService,
  serverStream,
  unary,
} from '../../lib/index.js';
import { jest } from '@jest/globals';
import {
  createRapTestBed,
  expectNoLeaks,
  type RapTestBed,
  type RapTestBedOptions,
} from '../../lib/testing.js';
import { eventually, rejection } from '../helpers/async.js';
import { TestAuthority } from '../helpers/certificates.js';

const beds: RapTestBed[] = [];

async function bedOf(options: RapTestBedOptions): Promise<RapTestBed> {
  const bed = await createRapTestBed({ logger: false, ...options });
  beds.push(bed);
  return bed;
}

afterEach(async () => {
  for (const bed of beds.splice(0)) await bed.close();
});

const MathService = defineService('math', {
  sum: unary<{ a: number; b: number }, number>(),
  count: serverStream<{ n: number }, number>(),
});

@Injectable()
class Prices {
  priceOf(_name: string): number {
    throw new Error('there is no database here');
  }
}

@Injectable()
class NobodyGuard implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

@RapService(MathService)
class MathController implements RapHandlers<typeof MathService> {
  sum({ a, b }: { a: number; b: number }): number {
    return a + b;
  }

  async *count({ n }: { n: number }): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield i;
  }
}

class OutOfStockError extends RapError {}

@Controller()
class ShopController {
  readonly events: unknown[] = [];
  // oxlint-disable-next-line typescript/parameter-properties -- Nest's way
  constructor(@Inject(Prices) private readonly prices: Prices) {}

  @MessagePattern('price')
  price(@Payload() name: string): number {
    return this.prices.priceOf(name);
  }

  @MessagePattern('buy')
  buy(): never {
    throw new OutOfStockError('no more', { code: 'ERR_STOCK' });
  }

  @MessagePattern('who')
  who(@Ctx() { peer, metadata, session }: RapContext): unknown {
    return { address: peer.address, metadata, session: session?.id !== undefined };
  }

  @MessagePattern('inside', { private: true })
  inside(): string {
    return 'in';
  }

  @UseGuards(NobodyGuard)
  @MessagePattern('guarded')
  guarded(): string {
    return 'passed';
  }

  @EventPattern('seen')
  seen(@Payload() what: unknown): void {
    this.events.push(what);
  }

  @ChannelPattern('chat')
  async chat(@Payload() channel: RapChannel<string, string>): Promise<void> {
    for await (const line of channel) await channel.write(line.toUpperCase());
  }
}

@Module({ controllers: [ShopController, MathController], providers: [Prices, NobodyGuard] })
class ShopModule {}

/** Sockets, servers and pipes of this process. */
const handles = (): string[] =>
  process
    .getActiveResourcesInfo()
    .filter((it) => /TCP|Pipe|Server|UDP/.test(it))
    .toSorted((a, b) => a.localeCompare(b));

describe('createRapTestBed', () => {
  it('joins a server and a client without a port', async () => {
    const before = handles();
    const bed = await bedOf({ modules: [ShopModule] });
    const math = bed.client.service(MathService);
    expect(await math.sum({ a: 1, b: 2 })).toBe(3);
    const items: number[] = [];
    for await (const item of math.count({ n: 3 })) items.push(item);
    expect(items).toEqual([0, 1, 2]);
    expect(bed.server.address()).toBeNull();
    expect(handles()).toEqual(before);
  });

  it('carries events, channels, sessions and errors as a connection does', async () => {
    const bed = await bedOf({ modules: [ShopModule], client: { metadata: { from: 'a test' } } });
    const { client } = bed;
    client.emit('seen', { n: 1 });
    const shop = bed.get(ShopController);
    await eventually('the event', () => shop.events.length === 1);
    expect(shop.events).toEqual([{ n: 1 }]);
    const chat = await client.channel<string, string>('chat');
    await chat.write('hello');
    expect(await chat.read()).toBe('HELLO');
    await chat.end();
    await chat.closed;
    expect(await client.withSession(() => client.call('who'))).toEqual({
      address: '127.0.0.1',
      metadata: { from: 'a test' },
      session: true,
    });
    expect(await rejection(client.call('buy'))).toMatchObject({ message: 'no more', code: 'ERR_STOCK' });
    expect((await rejection(client.call('nope'))) as unknown as FuncNotFoundError).toMatchObject({
      name: 'FuncNotFoundError',
      call: { target: '/default/nope', server: 'test-bed:9000' },
    });
  });

  it('takes controllers and providers, which modules may inject', async () => {
    @Module({ controllers: [ShopController] })
    class WithoutPrices {}
    const bed = await bedOf({
      modules: [WithoutPrices],
      controllers: [MathController],
      providers: [{ provide: Prices, useValue: { priceOf: () => 7 } }],
    });
    expect(await bed.client.call('price', 'tea')).toBe(7);
    expect(await bed.client.call('/math/sum', { a: 2, b: 2 })).toBe(4);
  });

  it('overrides providers and guards in all modules', async () => {
    const bed = await bedOf({
      modules: [ShopModule],
      overrides: [
        { provide: Prices, useFactory: (math: number) => ({ priceOf: () => math }), inject: ['FACTOR'] },
        { provide: NobodyGuard, useValue: { canActivate: () => true } },
      ],
      providers: [{ provide: 'FACTOR', useValue: 9 }],
    });
    expect(await bed.client.call('price', 'tea')).toBe(9);
    expect(await bed.client.call('guarded')).toBe('passed');
    expect(bed.get(Prices).priceOf('tea')).toBe(9);
  });

  it('applies processors, middleware and limits of both sides', async () => {
    const seen: unknown[] = [];
    class Seen extends MessageMiddleware {
      override async use(request: { target: string }, next: () => Promise<unknown>): Promise<never> {
        seen.push(request.target);
        return (await next()) as never;
      }
    }
    const key = CryptoProcessor.generateKey();
    const bed = await bedOf({
      modules: [ShopModule],
      server: {
        processors: [new CryptoProcessor({ keys: { demo: key }, mode: 'aead' })],
        middleware: [new Seen()],
        limits: { maxFrameBytes: 70_000 },
      },
      client: { processors: [new CryptoProcessor({ keyId: 'demo', key, mode: 'aead' })] },
    });
    expect(await bed.client.call('/math/sum', { a: 1, b: 2 })).toBe(3);
    expect(seen).toEqual(['/math/sum']);
    expect(await rejection(bed.client.call('price', 'x'.repeat(80_000)))).toBeInstanceOf(RapError);
    const stranger = bed.createClient();
    expect(await rejection(stranger.call('price', 'tea'))).toBeInstanceOf(RapError);
  });

  it('speaks TLS if both sides are told to', async () => {
    const authority = new TestAuthority();
    const tls = authority.issue({ commonName: 'server', names: ['test-bed'] });
    const bed = await bedOf({
      modules: [ShopModule],
      server: { tls },
      client: { tls: { ca: authority.cert } },
    });
    expect(await bed.client.call('/math/sum', { a: 1, b: 2 })).toBe(3);
    const plain = bed.createClient();
    expect(await rejection(plain.call('who', undefined, { timeoutMs: 1000 }))).toBeInstanceOf(RapError);
  });

  it('shows another address of the clients to the server, which refuses private functions then', async () => {
    const near = await bedOf({ modules: [ShopModule] });
    expect(await near.client.call('inside')).toBe('in');
    const far = await bedOf({ modules: [ShopModule], address: '203.0.113.7' });
    expect(await far.client.call('who')).toMatchObject({ address: '203.0.113.7' });
    expect(await rejection(far.client.call('inside'))).toMatchObject({ name: 'FuncNotFoundError' });
  });

  it('prepares the application as main.ts does', async () => {
    const bed = await bedOf({
      modules: [ShopModule],
      prepare: (app) => app.useGlobalInterceptors({ intercept: (_context, next) => next.handle() }),
    });
    expect(await bed.client.call('/math/sum', { a: 1, b: 2 })).toBe(3);
  });

  it('copies values, as the wire does', async () => {
    const bed = await bedOf({ modules: [ShopModule] });
    const sent = { n: 1 };
    bed.client.emit('seen', sent);
    sent.n = 2;
    const { events } = bed.get(ShopController);
    await eventually('the event', () => events.length === 1);
    expect(events).toEqual([{ n: 1 }]);
    expect(events[0]).not.toBe(sent);
  });

  it('works under fake timers of the test framework', async () => {
    jest.useFakeTimers();
    try {
      const bed = await createRapTestBed({ modules: [ShopModule], clock: 'manual', logger: false });
      bed.faults.latency(10);
      const sum = bed.client.call('/math/sum', { a: 1, b: 2 });
      await bed.clock.advance(100);
      expect(await sum).toBe(3);
      await bed.close();
      await expectNoLeaks();
    } finally {
      jest.useRealTimers();
    }
  });

  it('serves several beds at once, each its own', async () => {
    const one = await bedOf({ controllers: [MathController] });
    const two = await bedOf({ modules: [ShopModule] });
    expect(await rejection(one.client.call('who'))).toMatchObject({ name: 'FuncNotFoundError' });
    expect(await two.client.call('who')).toMatchObject({ address: '127.0.0.1' });
  });

  it('moves messages of many megabytes, slow readers included', async () => {
    const bed = await bedOf({ modules: [ShopModule] });
    const chat = await bed.client.channel<string, string>('chat');
    const line = 'x'.repeat(100_000);
    const written = (async () => {
      for (let i = 0; i < 100; i++) await chat.write(line);
      await chat.end();
    })();
    let bytes = 0;
    for await (const answer of chat) bytes += answer.length;
    await written;
    expect(bytes).toBe(10_000_000);
  });

  it('closes twice, ends calls in flight, and runs the hooks of the application', async () => {
    let destroyed = 0;
    @Controller()
    class Slow {
      @MessagePattern('never')
      never(@Ctx() { signal }: RapContext): Promise<void> {
        return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
      }

      onModuleDestroy(): void {
        destroyed += 1;
      }
    }
    const bed = await bedOf({ controllers: [Slow] });
    const call = rejection(bed.client.call('never'));
    await eventually('the call', () => bed.server.stats().inFlight === 1);
    await Promise.all([bed.close(), bed.close()]);
    expect(await call).toBeInstanceOf(ConnectionLostError);
    expect(destroyed).toBe(1);
    expect(bed.server.stats().connections).toBe(0);
  });

  it.each([
    [{ modul: [] }, /modul is not an option; did you mean modules/],
    [{ modules: ShopModule }, /modules must be a list/],
    [{ server: { prot: 1 } }, /prot is not an option.*did you mean port/],
    [{ client: { pot: 1 } }, /pot is not an option/],
    [{ clock: 'fake' }, /clock must be 'real' or 'manual', got "fake"/],
    [{ overrides: [{ provide: Prices }] }, /overrides\[0\] needs provide, and useValue/],
    [{ overrides: [Prices] }, /overrides\[0\] needs provide/],
  ])('refuses %j', async (options, message) => {
    expect((await rejection(createRapTestBed(options as never))).message).toMatch(message);
  });

  it('rejects with the error of an application that cannot start, and leaves nothing open', async () => {
    @Module({ controllers: [ShopController] })
    class Incomplete {}
    expect((await rejection(createRapTestBed({ modules: [Incomplete], logger: false }))).message).toMatch(
      /can't resolve dependencies of the ShopController/,
    );
    @Controller()
    class Twice {
      @MessagePattern('a')
      one(): void {}
      @MessagePattern('a')
      two(): void {}
    }
    expect((await rejection(createRapTestBed({ controllers: [Twice] }))).message).toMatch(
      /Two request handlers/,
    );
    await expectNoLeaks();
  });
});
