import 'reflect-metadata';
import {
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
  ParseIntPipe,
  type PipeTransform,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
} from '@nestjs/common';
import { CONTEXT, Ctx, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { IsInt, Max } from 'class-validator';
import { map, Observable, of, range, tap, throwError } from 'rxjs';
import { AuthError, ChannelPattern, ParseError, RapChannel, RapContext, RapError } from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';
import { collect, collectFailing, idle, Probe } from '../helpers/streams.js';

const scope = testScope();
let probe = new Probe();
let trace: string[] = [];
beforeEach(() => {
  probe = new Probe();
  trace = [];
});

class Count {
  @IsInt()
  @Max(100)
  n!: number;
}

async function* upTo(n: number): AsyncGenerator<number> {
  for (let i = 0; i < n; i++) yield Promise.resolve(i);
}

/** Doubles what it sees, as interceptors of the other kinds of handlers do. */
class Double implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler<number>): Observable<number> {
    return next.handle().pipe(map((value) => value * 2));
  }
}

/** Writes down what goes by. */
class Log implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler<number | string | object>): Observable<unknown> {
    const { target } = context.switchToRpc().getContext<RapContext>();
    trace.push(`before ${target}`);
    return next.handle().pipe(
      tap({
        next: (value) => trace.push(`saw ${String(value as number)}`),
        complete: () => trace.push('complete'),
      }),
    );
  }
}

/** Doubles each item of a stream. */
class DoubleEach implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler<number>): Observable<number> {
    return next.handle().pipe(map((value) => value * 2));
  }
}

class Deny implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    trace.push(`guard ${context.getType()} ${context.getHandler().name}`);
    return false;
  }
}

class SlowAllow implements CanActivate {
  async canActivate(): Promise<boolean> {
    await new Promise((resolve) => setTimeout(resolve, 5));
    return true;
  }
}

@Catch()
class Translate implements ExceptionFilter {
  catch(error: Error, _host: ArgumentsHost): Observable<never> {
    trace.push(`filter ${error.message}`);
    return throwError(
      () => new RapError(`translated: ${error.message}`, { status: 1006, details: { by: 'filter' } }),
    );
  }
}

class PlusOne implements PipeTransform<{ n: number }> {
  transform({ n }: { n: number }): { n: number } {
    return { n: n + 1 };
  }
}

@Controller()
class PipelineController {
  @UseInterceptors(Double)
  @MessagePattern('doubled')
  doubled(@Payload() { n }: { n: number }): Observable<number> {
    return range(0, n);
  }

  @UseInterceptors(Log)
  @MessagePattern('loggedObservable')
  loggedObservable(@Payload() { n }: { n: number }): Observable<number> {
    return range(0, n);
  }

  @UseInterceptors(Log)
  @MessagePattern('loggedGenerator')
  async *loggedGenerator(@Payload() { n }: { n: number }): AsyncGenerator<number> {
    try {
      yield* upTo(n);
    } finally {
      probe.ended += 1;
    }
  }

  @UseInterceptors(DoubleEach)
  @MessagePattern('doubledGenerator')
  doubledGenerator(@Payload() { n }: { n: number }): AsyncGenerator<number> {
    return upTo(n);
  }

  @UseGuards(Deny)
  @MessagePattern('denied')
  async *denied(): AsyncGenerator<number> {
    probe.begin();
    yield await Promise.resolve(1);
  }

  @UseGuards(Deny)
  @ChannelPattern('deniedChannel')
  async deniedChannel(): Promise<void> {
    probe.begin();
    await Promise.resolve();
  }

  @UseGuards(SlowAllow)
  @MessagePattern('slowlyAllowed')
  slowlyAllowed(@Payload() { n }: { n: number }): AsyncGenerator<number> {
    return upTo(n);
  }

  @UsePipes(PlusOne)
  @MessagePattern('oneMore')
  oneMore(@Payload() { n }: { n: number }): AsyncGenerator<number> {
    return upTo(n);
  }

  @MessagePattern('parsed')
  parsed(@Payload('n', ParseIntPipe) n: number): AsyncGenerator<number> {
    probe.begin();
    return upTo(n);
  }

  @UsePipes(new ValidationPipe({ transform: true, exceptionFactory: () => new ParseError('not a count') }))
  @MessagePattern('validated')
  validated(@Payload() count: Count): AsyncGenerator<number> {
    probe.begin();
    return upTo(count.n);
  }

  @UseFilters(Translate)
  @MessagePattern('filteredObservable')
  filteredObservable(): Observable<number> {
    return new Observable((observer) => {
      observer.next(1);
      observer.error(new Error('boom'));
    });
  }

  @UseFilters(Translate)
  @MessagePattern('filteredStart')
  filteredStart(): AsyncGenerator<number> {
    throw new RpcException('boom');
  }

  @UseFilters(Translate)
  @ChannelPattern('filteredChannel')
  async filteredChannel(@Payload() channel: RapChannel<string, string>): Promise<void> {
    await channel.write('first');
    throw new Error('boom');
  }

  @UseInterceptors(Log)
  @ChannelPattern('loggedChannel')
  async loggedChannel(@Payload() channel: RapChannel<string, string>): Promise<string> {
    for await (const line of channel) await channel.write(line);
    return 'the result of the method';
  }
}

/** Its own instance for each stream and channel. */
@Injectable({ scope: Scope.REQUEST })
class Tally {
  static made = 0;
  readonly id = ++Tally.made;
  count = 0;

  constructor(@Inject(CONTEXT) readonly request: { context: RapContext; data: unknown }) {}
}

@Controller({ scope: Scope.REQUEST })
class ScopedController {
  constructor(private readonly tally: Tally) {}

  @MessagePattern('scoped')
  async *scoped(@Payload() { n }: { n: number }, @Ctx() ctx: RapContext): AsyncGenerator<object> {
    probe.begin(ctx);
    for await (const i of upTo(n)) {
      this.tally.count += 1;
      yield { id: this.tally.id, count: this.tally.count, i, context: this.tally.request.context === ctx };
    }
  }

  @ChannelPattern('scopedChannel')
  async scopedChannel(@Payload() channel: RapChannel<string, object>): Promise<void> {
    for await (const line of channel) {
      this.tally.count += 1;
      await channel.write({ id: this.tally.id, count: this.tally.count, line });
    }
  }
}

async function start(options: Parameters<typeof scope.serve>[1] = {}) {
  const test = await scope.serve([PipelineController, ScopedController], { providers: [Tally], ...options });
  scope.defer(() => idle(test));
  return test.client();
}

describe('interceptors', () => {
  it('see each value of an Observable', async () => {
    const client = await start();
    expect(await collect(client.stream('doubled', { n: 4 }))).toEqual([0, 2, 4, 6]);
    expect(await collect(client.stream('loggedObservable', { n: 2 }))).toEqual([0, 1]);
    expect(trace).toEqual(['before /default/loggedObservable', 'saw 0', 'saw 1', 'complete']);
  });

  it('see each item of a generator, as that of an Observable', async () => {
    const client = await start();
    expect(await collect(client.stream('loggedGenerator', { n: 3 }))).toEqual([0, 1, 2]);
    expect(trace).toEqual(['before /default/loggedGenerator', 'saw 0', 'saw 1', 'saw 2', 'complete']);
    expect(probe.ended).toBe(1);
  });

  it('may change each item of a generator', async () => {
    const client = await start();
    expect(await collect(client.stream('doubledGenerator', { n: 3 }))).toEqual([0, 2, 4]);
  });

  it('that are global stand around every stream and channel', async () => {
    const client = await start({ prepare: (app) => app.useGlobalInterceptors(new Log(), new Log()) });
    expect(await collect(client.stream('oneMore', { n: 2 }))).toEqual([0, 1, 2]);
    expect(trace.filter((line) => line === 'saw 2')).toHaveLength(2);
    trace = [];
    const channel = await client.channel<object, string>('scopedChannel');
    await channel.write('a');
    expect(await channel.read()).toMatchObject({ line: 'a' });
    await channel.end();
    await channel.closed;
    expect(trace.filter((line) => line.startsWith('before'))).toHaveLength(2);
    expect(trace.filter((line) => line === 'complete')).toHaveLength(2);
  });

  it('stand around a channel, whose result goes nowhere', async () => {
    const client = await start();
    const channel = await client.channel<string, string>('loggedChannel');
    await channel.write('a');
    await channel.end();
    expect(await collect(channel)).toEqual(['a']);
    await channel.closed;
    expect(trace).toEqual(['before /default/loggedChannel', 'saw the result of the method', 'complete']);
  });

  it('may answer a stream in place of the handler', async () => {
    class Cached implements NestInterceptor {
      intercept(): Observable<unknown> {
        return of('cached 1', 'cached 2');
      }
    }
    const client = await start({ prepare: (app) => app.useGlobalInterceptors(new Cached()) });
    expect(await collect(client.stream('validated', { n: 3 }))).toEqual(['cached 1', 'cached 2']);
    expect(probe.started).toBe(0);
  });
});

describe('guards', () => {
  it('refuse a stream before it starts', async () => {
    const client = await start();
    const { items, error } = await collectFailing(client.stream('denied', {}));
    expect([items, error.constructor, error['status']]).toEqual([[], AuthError, 401]);
    expect(await rejection(client.call('denied', {}))).toBeInstanceOf(AuthError);
    expect(probe.started).toBe(0);
    expect(trace).toEqual(['guard rpc denied', 'guard rpc denied']);
  });

  it('refuse a channel before it starts', async () => {
    const client = await start();
    const channel = await client.channel('deniedChannel');
    expect(await rejection(channel.read())).toBeInstanceOf(AuthError);
    expect(await rejection(channel.closed)).toBeInstanceOf(AuthError);
    expect(probe.started).toBe(0);
  });

  it('may take their time', async () => {
    const client = await start();
    expect(await collect(client.stream('slowlyAllowed', { n: 2 }))).toEqual([0, 1]);
  });
});

describe('pipes', () => {
  it('work on the parameters', async () => {
    const client = await start();
    expect(await collect(client.stream('oneMore', { n: 1 }))).toEqual([0, 1]);
    expect(await collect(client.stream('parsed', { n: '2' }))).toEqual([0, 1]);
    expect(await collect(client.stream('validated', { n: 2 }))).toEqual([0, 1]);
  });

  it('refuse bad ones before the first item', async () => {
    const client = await start();
    const validated = await collectFailing(client.stream('validated', { n: 101 }));
    expect([validated.items, validated.error.constructor]).toEqual([[], ParseError]);
    expect(validated.error.message).toBe('not a count');
    const parsed = await collectFailing(client.stream('parsed', { n: 'x' }));
    expect(parsed.items).toEqual([]);
    expect(probe.started).toBe(0);
  });

  it("of Nest's usual set-up leave a channel alone", async () => {
    const client = await start({
      prepare: (app) => app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true })),
    });
    const channel = await client.channel<string, string>('loggedChannel');
    await channel.write('a');
    expect(await channel.read()).toBe('a');
    channel.close();
  });
});

describe('filters', () => {
  it('see the error of an Observable, after its values', async () => {
    const client = await start();
    const { items, error } = await collectFailing(client.stream('filteredObservable'));
    expect(items).toEqual([1]);
    expect(error).toMatchObject({ status: 1006, message: 'translated: boom', details: { by: 'filter' } });
    expect(trace).toEqual(['filter boom']);
  });

  it('see what a handler throws before it returns a stream', async () => {
    const client = await start();
    const { error } = await collectFailing(client.stream('filteredStart'));
    expect(error).toMatchObject({ status: 1006, message: 'translated: boom' });
  });

  it('see what the handler of a channel throws', async () => {
    const client = await start();
    const channel = await client.channel<string, string>('filteredChannel');
    const { items, error } = await collectFailing(channel);
    expect(items).toEqual(['first']);
    expect(error).toMatchObject({ status: 1006, message: 'translated: boom', details: { by: 'filter' } });
  });
});

describe('request scope', () => {
  it('gives each stream its own instance, for all of its items', async () => {
    const client = await start();
    const streams = await Promise.all(
      [1, 2, 3].map(() => collect(client.stream<{ id: number }>('scoped', { n: 3 }))),
    );
    for (const items of streams) {
      const id = items[0]?.id;
      expect(items).toEqual([1, 2, 3].map((count, i) => ({ id, count, i, context: true })));
    }
    expect(new Set(streams.map((items) => items[0]?.id)).size).toBe(3);
  });

  it('gives each channel its own instance', async () => {
    const client = await start();
    const channels = await Promise.all(
      [1, 2].map(() => client.channel<{ id: number }, string>('scopedChannel')),
    );
    for (const round of [1, 2]) {
      for (const channel of channels) {
        await channel.write('x');
        expect(await channel.read()).toMatchObject({ count: round });
      }
    }
    await Promise.all(channels.map((channel) => channel.end()));
    await Promise.all(channels.map((channel) => channel.closed));
  });
});
