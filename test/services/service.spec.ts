import 'reflect-metadata';
import {
  type CallHandler,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
  type PipeTransform,
  Scope,
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import { jest } from '@jest/globals';
import { NestFactory } from '@nestjs/core';
import { CONTEXT, Ctx, Payload, type RequestContext, Transport } from '@nestjs/microservices';
import { map, type Observable, of, range } from 'rxjs';
import {
  CallCancelledError,
  CallTimeoutError,
  clientStream,
  defineService,
  duplex,
  FuncNotFoundError,
  RapChannel,
  type RapContext,
  type RapHandlers,
  RapServer,
  RapService,
  serverStream,
  unary,
} from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';
import { collect } from '../helpers/streams.js';
import { MathController, MathService, type Terms } from './math-service.js';

const scope = testScope();

describe('a service and its proxy', () => {
  it('calls each of the four kinds', async () => {
    const { client } = await scope.serve([MathController]);
    const math = client().service(MathService);

    expect(await math.sum({ a: 1, b: 2 })).toBe(3);
    expect(await math.reset()).toBeNull();
    expect(await collect(math.count({ n: 3 }))).toEqual([0, 1, 2]);
    expect(await math.total([1, 2, 3])).toEqual({ total: 6 });
    const chat = await math.chat({ metadata: 'lobby' });
    await chat.write('hi');
    expect(await chat.read()).toBe('lobby: hi');
    await chat.end();
    await chat.closed;
  });

  it('takes the options of a call', async () => {
    const seen: unknown[] = [];
    const S = defineService('options', { see: unary<string>(), wait: unary() });
    @RapService(S)
    class SeeController implements RapHandlers<typeof S> {
      see(@Payload() text: string, @Ctx() ctx: RapContext): void {
        seen.push(text, ctx.header['x-tag']);
      }
      wait(@Payload() _: void, @Ctx() ctx: RapContext): Promise<void> {
        return new Promise((resolve) => ctx.signal.addEventListener('abort', () => resolve()));
      }
    }
    const { client } = await scope.serve([SeeController]);
    const service = client().service(S);

    await service.see('x', { header: { 'x-tag': 7 } });

    expect(seen).toEqual(['x', 7]);
    expect(await rejection(service.wait(undefined, { timeoutMs: 20 }))).toBeInstanceOf(CallTimeoutError);
    const aborted = service.wait(undefined, { signal: AbortSignal.abort() });
    expect(await rejection(aborted)).toBeInstanceOf(CallCancelledError);
  });

  it('takes idempotent, of which nothing is sent', async () => {
    const headers: unknown[] = [];
    const S = defineService('again', {
      call: unary<void, number>(),
      count: serverStream<void, number>(),
      chat: duplex<number, number>(),
    });
    @RapService(S)
    class AgainController implements RapHandlers<typeof S> {
      call(_: void, { header }: RapContext): number {
        return headers.push(header);
      }
      *count(_: void, { header }: RapContext): Generator<number> {
        yield headers.push(header);
      }
      chat(_: RapChannel<number, number>, { header }: RapContext): void {
        headers.push(header);
      }
    }
    const { client } = await scope.serve([AgainController]);
    const service = client().service(S);

    for (const options of [undefined, { idempotent: true }, { idempotent: false }]) {
      await service.call(undefined, options);
      await collect(service.count(undefined, options));
      await (
        await service.chat(options)
      ).closed;
    }

    expect(headers.length).toBe(9);
    expect(headers.slice(3, 6)).toEqual(headers.slice(0, 3));
    expect(headers.slice(6)).toEqual(headers.slice(0, 3));
  });

  it('gets its data and context also without decorators on the parameters', async () => {
    const S = defineService('bare', {
      sum: unary<Terms, string>(),
      count: serverStream<{ n: number }, string>(),
      total: clientStream<number, string>(),
      echo: duplex<string, string>(),
    });
    @RapService(S)
    class BareController implements RapHandlers<typeof S> {
      sum({ a, b }: Terms, ctx: RapContext): string {
        return `${ctx.target} ${a + b}`;
      }
      *count({ n }: { n: number }, ctx: RapContext): Generator<string> {
        for (let i = 0; i < n; i++) yield `${ctx.name} ${i}`;
      }
      async total(items: AsyncIterable<number>, ctx: RapContext): Promise<string> {
        let total = 0;
        for await (const item of items) total += item;
        return `${ctx.name} ${total}`;
      }
      async echo(channel: RapChannel<string, string>, ctx: RapContext): Promise<void> {
        for await (const line of channel) await channel.write(`${ctx.name} ${line}`);
      }
    }
    const { client } = await scope.serve([BareController]);
    const bare = client().service(S);

    expect(await bare.sum({ a: 1, b: 2 })).toBe('/bare/sum 3');
    expect(await collect(bare.count({ n: 2 }))).toEqual(['count 0', 'count 1']);
    expect(await bare.total([4, 5])).toBe('total 9');
    const echo = await bare.echo();
    await echo.write('x');
    await echo.end();
    expect(await collect(echo)).toEqual(['echo x']);
  });

  it('answers under its aliases, in its group and in others', async () => {
    const { client } = await scope.serve([MathController]);
    const rap = client();

    expect(await rap.call('/math/add', { a: 1, b: 2 })).toBe(3);
    expect(await rap.call('/other/sum', { a: 1, b: 2 })).toBe(3);
    expect(await rejection(rap.call('/default/sum', { a: 1, b: 2 }))).toBeInstanceOf(FuncNotFoundError);
  });

  it('is the same proxy each time, and awaiting it is no call', async () => {
    const { client } = await scope.serve([MathController]);
    const rap = client();
    const math = rap.service(MathService);

    expect(rap.service(MathService)).toBe(math);
    expect(await Promise.resolve(math)).toBe(math);
    expect(rap.service(defineService('math', { sum: unary<Terms, number>() }))).not.toBe(math);
  });

  it('takes spies of a test in place of its methods, and its methods back', async () => {
    const { client } = await scope.serve([MathController]);
    const rap = client();
    for (const math of [rap.service(MathService), rap.controller(MathController)]) {
      const spy = jest.spyOn(math, 'sum').mockImplementation(() => Promise.resolve(42));
      expect(await math.sum({ a: 1, b: 2 })).toBe(42);
      expect(spy).toHaveBeenCalledWith({ a: 1, b: 2 });
      spy.mockRestore();
      expect(await math.sum({ a: 1, b: 2 })).toBe(3);
    }
  });

  it('of an Observable: a value, a stream and the result of an upload', async () => {
    const S = defineService('rx', {
      one: unary<void, number>(),
      many: serverStream<void, number>(),
      last: clientStream<number, number>(),
    });
    @RapService(S)
    class RxController implements RapHandlers<typeof S> {
      one(): Observable<number> {
        return of(1);
      }
      many(): Observable<number> {
        return range(0, 3);
      }
      last(): Observable<number> {
        return range(0, 3);
      }
    }
    const { client } = await scope.serve([RxController]);
    const rx = client().service(S);

    expect(await rx.one()).toBe(1);
    expect(await collect(rx.many())).toEqual([0, 1, 2]);
    expect(await rx.last([])).toBe(2);
  });
});

describe('timeoutMs of a contract', () => {
  const S = defineService('timed', {
    hangs: unary({ timeoutMs: 60 }),
    asked: unary<void, number>({ timeoutMs: 5000 }),
  });
  @RapService(S)
  class TimedController implements RapHandlers<typeof S> {
    hangs(_: void, ctx: RapContext): Promise<void> {
      return new Promise((resolve) => ctx.signal.addEventListener('abort', () => resolve()));
    }
    asked(_: void, ctx: RapContext): number {
      return ctx.header.timeout_ms ?? -1;
    }
  }

  it('is the limit of the handler, also for callers without the proxy', async () => {
    const { client } = await scope.serve([TimedController]);
    expect(await rejection(client().call('/timed/hangs'))).toMatchObject({ remoteName: 'RpcRunTimeError' });
  });

  it('is the default of the proxy, which the caller may change', async () => {
    const { client } = await scope.serve([TimedController]);
    const rap = client();
    await rap.connect();
    const { asked } = rap.service(S);

    expect(await asked()).toBe(5000);
    expect(await asked(undefined, { timeoutMs: 4000 })).toBe(4000);
    expect(await asked(undefined, { header: { x: 1 } })).toBe(5000);
    expect(await rap.call('/timed/asked')).toBe(-1);
  });
});

describe('beside the rest of Nest', () => {
  const S = defineService('deep', { who: unary<string, string>() });
  const log: string[] = [];
  beforeEach(() => {
    log.length = 0;
  });

  @Injectable()
  class Names {
    of(name: string): string {
      return `<${name}>`;
    }
  }
  class Guard implements CanActivate {
    canActivate(context: ExecutionContext): boolean {
      log.push('guard');
      return context.switchToRpc().getData<string>() !== 'nobody';
    }
  }
  class Interceptor implements NestInterceptor {
    intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
      log.push('interceptor');
      return next.handle().pipe(map((value) => `[${String(value)}]`));
    }
  }
  class Pipe implements PipeTransform {
    transform(value: unknown, { type }: { type: string }): unknown {
      if (type === 'body') log.push('pipe');
      return type === 'body' ? String(value).toUpperCase() : value;
    }
  }

  it('guards, interceptors and pipes of class and method, and injection', async () => {
    @UseInterceptors(Interceptor)
    @RapService(S)
    class WhoController implements RapHandlers<typeof S> {
      constructor(private readonly names: Names) {}
      @UseGuards(Guard)
      @UsePipes(Pipe)
      who(@Payload() name: string): string {
        return this.names.of(name);
      }
    }
    const { client } = await scope.serve([WhoController], { providers: [Names] });
    const deep = client().service(S);

    expect(await deep.who('ann')).toBe('[<ANN>]');
    expect(log).toEqual(['guard', 'interceptor', 'pipe']);
    expect(await rejection(deep.who('nobody'))).toMatchObject({ status: 401 });
  });

  it('request scope, by @Controller below', async () => {
    let made = 0;
    @RapService(S)
    @Controller({ scope: Scope.REQUEST })
    class ScopedController implements RapHandlers<typeof S> {
      constructor(@Inject(CONTEXT) private readonly request: RequestContext<string>) {
        made += 1;
      }
      who(): string {
        return `${made} ${this.request.data}`;
      }
    }
    const { client } = await scope.serve([ScopedController]);
    const deep = client().service(S);

    expect([await deep.who('ann'), await deep.who('bob')]).toEqual(['1 ann', '2 bob']);
  });

  it('inherited methods, whose base class stays as it is', async () => {
    class Base {
      readonly greeting: string = 'base';
      @UseGuards(Guard)
      who(@Payload() name: string): string {
        return `${this.greeting} ${name}`;
      }
    }
    const T = defineService('second', { who: unary<string, string>() });
    @RapService(S)
    class OneController extends Base {
      override readonly greeting = 'one';
    }
    @RapService(T)
    class TwoController extends Base {
      override readonly greeting = 'two';
    }
    const { client } = await scope.serve([OneController, TwoController]);
    const rap = client();

    expect(await rap.service(S).who('ann')).toBe('one ann');
    expect(await rap.service(T).who('ann')).toBe('two ann');
    expect(await rejection(rap.service(T).who('nobody'))).toMatchObject({ status: 401 });
    const method = Object.getOwnPropertyDescriptor(Base.prototype, 'who')?.value as object;
    expect(Reflect.getMetadataKeys(method)).not.toContain('microservices:pattern');
  });

  it('a subclass implements another version of the service of its base', async () => {
    const V1 = defineService('v1', { who: unary<string, string>({ private: true }) });
    const V2 = defineService('v2', { who: unary<string, string>(), more: unary<void, string>() });
    @RapService(V1)
    class OneController implements RapHandlers<typeof V1> {
      who(name: string): string {
        return `one ${name}`;
      }
    }
    @RapService(V2)
    class TwoController extends OneController implements RapHandlers<typeof V2> {
      more(): string {
        return 'more';
      }
    }
    const { client, server } = await scope.serve([OneController, TwoController]);
    const rap = client();

    expect(await rap.service(V1).who('x')).toBe('one x');
    expect(await rap.service(V2).who('x')).toBe('one x');
    expect(await rap.service(V2).more()).toBe('more');
    expect(server.getHandlerByPattern('/v2/who')?.extras).not.toHaveProperty('private');
  });

  it('is served with bindUntagged false, and by no other transport of a hybrid application', async () => {
    const { Module } = await import('@nestjs/common');
    @RapService(S)
    class WhoController implements RapHandlers<typeof S> {
      who(name: string): string {
        return name;
      }
    }
    class HybridModule {}
    Module({ controllers: [WhoController] })(HybridModule);
    const app = await NestFactory.create(HybridModule, { logger: false });
    const server = new RapServer({ host: '127.0.0.1', port: 0, bindUntagged: false });
    app.connectMicroservice({ strategy: server });
    const tcp = app.connectMicroservice({
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port: 0 },
    });
    scope.defer(() => app.close());
    await app.init();
    await app.startAllMicroservices();
    const { RapClient } = await import('../../lib/index.js');
    const client = new RapClient({ host: '127.0.0.1', port: (server.address() as { port: number }).port });
    scope.defer(() => client.close());

    expect(await client.service(S).who('ann')).toBe('ann');
    const { messageHandlers } = (
      tcp as unknown as { serverInstance: { messageHandlers: Map<string, unknown> } }
    ).serverInstance;
    expect([...messageHandlers.keys()]).toEqual([]);
  });
});
