import 'reflect-metadata';
import { fileURLToPath } from 'node:url';
import {
  type ArgumentMetadata,
  type CanActivate,
  type CallHandler,
  Controller,
  type ExecutionContext,
  HttpException,
  ParseIntPipe,
  SetMetadata,
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import { Ctx, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { map, type Observable } from 'rxjs';
import {
  ChannelError,
  ChannelPattern,
  CallTimeoutError,
  configureWorkers,
  InvokeError,
  inWorker,
  ParseError,
  RapChannel,
  RapContext,
  RapGroup,
  RunInWorker,
  ServerError,
  TooManyRequestsError,
} from '../../../lib/index.js';
import { compile, type Compiled } from '../../helpers/compiled.js';
import { eventually, rejection, testScope, within } from '../../helpers/async.js';

const scope = testScope();
const heavy = new URL('../../fixtures/heavy.mjs', import.meta.url);

/** A method that runs a function of the fixture. */
@Controller()
class WorkerController {
  @MessagePattern('fib')
  @RunInWorker(heavy, 'fib')
  fib(@Payload() _params: { n: number }): Promise<number> {
    return inWorker();
  }
  @RunInWorker(heavy, 'fib')
  @MessagePattern('fib-above')
  fibAbove(_params: { n: number }): Promise<number> {
    return inWorker();
  }
  @MessagePattern('thread') @RunInWorker(heavy, 'thread') thread(): Promise<number> {
    return inWorker();
  }
  @MessagePattern('here') here(): number {
    return 0;
  }
  @MessagePattern('default') @RunInWorker(fileURLToPath(heavy)) default(
    @Payload() _: unknown,
  ): Promise<string> {
    return inWorker();
  }
  @MessagePattern('hang') @RunInWorker(heavy, 'hang') hang(@Payload() _: unknown): Promise<never> {
    return inWorker();
  }
  @MessagePattern('hang-briefly', { timeoutMs: 300 })
  @RunInWorker(heavy, 'hang')
  hangBriefly(): Promise<never> {
    return inWorker();
  }
  @MessagePattern('fail') @RunInWorker(heavy, 'fail') fail(@Payload() _: unknown): Promise<never> {
    return inWorker();
  }
  @MessagePattern('fail-with') @RunInWorker(heavy, 'failWith') failWith(
    @Payload() _: unknown,
  ): Promise<never> {
    return inWorker();
  }
  @MessagePattern('fail-with-details')
  @RunInWorker(heavy, 'failWithDetails')
  failWithDetails(@Payload() _: unknown): Promise<never> {
    return inWorker();
  }
  @MessagePattern('make') @RunInWorker(heavy, 'make') make(@Payload() _: unknown): Promise<Uint8Array> {
    return inWorker();
  }
  @MessagePattern('fill') @RunInWorker(heavy, 'fill') fill(@Payload() _: unknown): Promise<unknown> {
    return inWorker();
  }
}

/** Functions that fail in ways of their own. */
@Controller()
class BrokenController {
  @MessagePattern('exit') @RunInWorker(heavy, 'exit') exit(): Promise<never> {
    return inWorker();
  }
  @MessagePattern('crash') @RunInWorker(heavy, 'crashLater') crash(): Promise<never> {
    return inWorker();
  }
  @MessagePattern('hog') @RunInWorker(heavy, 'hog') hog(): Promise<never> {
    return inWorker();
  }
  @MessagePattern('missing') @RunInWorker(heavy, 'nope') missing(): Promise<never> {
    return inWorker();
  }
  @MessagePattern('constant') @RunInWorker(heavy, 'value') constant(): Promise<never> {
    return inWorker();
  }
  @MessagePattern('no-file') @RunInWorker(new URL('./nope.mjs', heavy), 'fib') noFile(): Promise<never> {
    return inWorker();
  }
  @MessagePattern('several') @RunInWorker(heavy, 'several') several(): Promise<never> {
    return inWorker();
  }
  @MessagePattern('unclonable') @RunInWorker(heavy, 'unclonable') unclonable(): Promise<never> {
    return inWorker();
  }
  @MessagePattern('undecorated') undecorated(): Promise<never> {
    return inWorker();
  }
  @ChannelPattern('channel') @RunInWorker(heavy, 'fib') channel(@Payload() _: RapChannel): Promise<never> {
    return inWorker();
  }
}

describe('a handler with @RunInWorker', () => {
  it.each(['fib', 'fib-above'])(
    'runs the function in another thread, with the payload: %s',
    async (pattern) => {
      const { client } = await scope.serve([WorkerController]);
      const rap = client();
      expect(await rap.call(pattern, { n: 15 })).toBe(610);
      expect(await rap.call('thread')).toBeGreaterThan(0);
      expect(await rap.call('default', { a: 1 })).toBe('default of {"a":1}');
    },
  );

  it('lets other calls through while it runs', async () => {
    const { client } = await scope.serve([WorkerController]);
    const rap = client();
    const controller = new AbortController();
    const hanging = rejection(rap.call('hang', {}, { signal: controller.signal }));

    for (let i = 0; i < 100; i++) {
      // oxlint-disable-next-line no-await-in-loop
      expect(await rap.call('here')).toBe(0);
    }
    controller.abort();

    expect((await hanging).name).toBe('CallCancelledError');
  });

  it('can be called like any method', async () => {
    scope.defer(async () => (await scope.serve([WorkerController])).close());
    expect(await new WorkerController().fib({ n: 10 })).toBe(55);
  });

  it('keeps guards, interceptors, pipes, filters, metadata and the name of the method, above it and below', async () => {
    const seen: unknown[] = [];
    class Guard implements CanActivate {
      canActivate(context: ExecutionContext): boolean {
        const handler = context.getHandler();
        seen.push([
          handler.name,
          Reflect.getMetadata('above', handler),
          Reflect.getMetadata('below', handler),
        ]);
        return context.switchToRpc().getData<{ n: number }>().n < 20;
      }
    }
    const double = {
      intercept: (_: unknown, next: CallHandler): Observable<unknown> =>
        next.handle().pipe(map((value) => (value as number) * 2)),
    };
    const plusOne = {
      transform: (value: { n: number }, { type }: ArgumentMetadata) =>
        type === 'custom' ? value : { n: value.n + 1 },
    };
    @Controller()
    class FullController {
      @UseGuards(Guard)
      @UseInterceptors(double)
      @SetMetadata('above', 1)
      @MessagePattern('above')
      @RunInWorker(heavy, 'fib')
      @SetMetadata('below', 2)
      above(@Payload(plusOne) _params: { n: number }): Promise<number> {
        return inWorker();
      }
      @RunInWorker(heavy, 'fib')
      @UsePipes(plusOne)
      @UseGuards(Guard)
      @UseInterceptors(double)
      @SetMetadata('above', 3)
      @SetMetadata('below', 4)
      @MessagePattern('below')
      below(@Payload() _params: { n: number }): Promise<number> {
        return inWorker();
      }
    }
    const { client } = await scope.serve([FullController]);
    const rap = client();

    expect(await rap.call('above', { n: 9 })).toBe(110);
    expect(await rap.call('below', { n: 9 })).toBe(110);
    expect(await rejection(rap.call('above', { n: 20 }))).toMatchObject({ name: 'AuthError' });
    expect(seen.slice(0, 2)).toEqual([
      ['above', 1, 2],
      ['below', 3, 4],
    ]);
  });

  it('gives the function the arguments of the method, without the context', async () => {
    @Controller()
    class ArgsController {
      @MessagePattern('parts')
      @RunInWorker(heavy, 'got')
      parts(
        @Payload('a', ParseIntPipe) _a: number,
        @Ctx() _ctx: RapContext,
        @Payload('b') _b: string,
      ): Promise<unknown> {
        return inWorker();
      }
      @MessagePattern('plain')
      @RunInWorker(heavy, 'got')
      plain(_data: unknown, _ctx: RapContext): Promise<unknown> {
        return inWorker();
      }
      @MessagePattern('undeclared') @RunInWorker(heavy, 'got') undeclared(): Promise<unknown> {
        return inWorker();
      }
      @MessagePattern('none')
      @RunInWorker(heavy, 'got')
      none(@Ctx() _ctx: RapContext): Promise<unknown> {
        return inWorker();
      }
    }
    const { client } = await scope.serve([ArgsController]);
    const rap = client();

    expect(await rap.call('parts', { a: '7', b: 'x' })).toEqual([7, 'x']);
    // V8 would make a clone of these a thousand times larger
    const body = {
      a: [{ '1023': 1, '2574': { '5': new Date(5) } }],
      b: new Map([[{ '7': 1 }, new Set(['x'])]]),
    };
    expect(await rap.call('plain', body)).toEqual([body]);
    expect(await rap.call('plain', { a: 1 })).toEqual([{ a: 1 }]);
    expect(await rap.call('none', { a: 1 })).toEqual([]);
    expect(await rap.call('undeclared', { a: 1 })).toEqual([{ a: 1 }]);
  });

  it('works in a group, in a subclass and in a double of a method', async () => {
    @RapGroup('math')
    @Controller()
    class GroupController extends WorkerController {}
    const { client } = await scope.serve([GroupController]);
    expect(await client().call('/math/fib', { n: 10 })).toBe(55);
  });

  it('runs as many calls at once as there are threads, and the others after them', async () => {
    configureWorkers({ maxThreads: 2 });
    scope.defer(() => configureWorkers({}));
    const { client, close } = await scope.serve([WorkerController]);
    const rap = client();
    const threads = await Promise.all(Array.from({ length: 40 }, () => rap.call('thread')));
    expect(new Set(threads).size).toBeLessThanOrEqual(2);
    await close();
  });
});

describe('cancellation', () => {
  it.each<[string, object | undefined, string, string]>([
    ['the caller', { signal: true }, 'hang', 'CallCancelledError'],
    ['a deadline', { timeoutMs: 300 }, 'hang', 'CallTimeoutError'],
    ['the run timeout', undefined, 'hang-briefly', 'InvokeError'],
  ])('stops the thread: by %s', async (_name, options, pattern, name) => {
    const { client, server } = await scope.serve([WorkerController]);
    const rap = client();
    const first = await rap.call<number>('thread');
    const controller = new AbortController();
    const own = options && 'signal' in options ? { signal: controller.signal } : options;

    const hanging = rejection(rap.call(pattern, {}, own));
    if (own && 'signal' in own) {
      await eventually('the call to run', () => server.stats().inFlight === 1);
      controller.abort();
    }

    expect((await hanging).name).toBe(name);
    await eventually('the handler to end', () => server.stats().inFlight === 0);
    const second = await within('the next call', rap.call<number>('thread'));
    expect(second).not.toBe(first);
  });

  it('stops what the caller has left, by losing the connection', async () => {
    const { client, server } = await scope.serve([WorkerController]);
    const gone = client();
    const hanging = rejection(gone.call('hang', {}));
    await eventually('the call to run', () => server.stats().inFlight === 1);

    gone.close();

    expect((await hanging).name).toBe('ConnectionLostError');
    await eventually('the handler to end', () => server.stats().inFlight === 0);
    expect(await client().call('fib', { n: 10 })).toBe(55);
  });

  it('takes a call back that waits for a thread, and lets the next one have its turn', async () => {
    configureWorkers({ maxThreads: 1 });
    scope.defer(() => configureWorkers({}));
    const { client, server, close } = await scope.serve([WorkerController]);
    const rap = client();
    const [running, waiting] = [new AbortController(), new AbortController()];
    const first = rejection(rap.call('hang', {}, { signal: running.signal }));
    await eventually('the first', () => server.stats().inFlight === 1);
    const second = rejection(rap.call('hang', {}, { signal: waiting.signal }));
    const third = rap.call('fib', { n: 10 });
    await eventually('all three', () => server.stats().inFlight === 3);

    waiting.abort();
    expect((await second).name).toBe('CallCancelledError');
    await eventually('two', () => server.stats().inFlight === 2);
    running.abort();

    expect((await first).name).toBe('CallCancelledError');
    expect(await within('the third', third)).toBe(55);
    await close();
  });

  it('ends calls that run when the server closes, and the threads with it', async () => {
    const { client, server, close } = await scope.serve([WorkerController], { closeTimeoutMs: 50 });
    const hanging = rejection(client().call('hang', {}));
    await eventually('the call to run', () => server.stats().inFlight === 1);
    await within('close', close());
    expect(await hanging).toBeInstanceOf(Error);
    expect(server.stats().inFlight).toBe(0);
  });
});

describe('too many calls', () => {
  it('are refused if maxQueue wait', async () => {
    configureWorkers({ maxThreads: 1, maxQueue: 2 });
    scope.defer(() => configureWorkers({}));
    const { client, server, close } = await scope.serve([WorkerController], { closeTimeoutMs: 50 });
    const rap = client();
    const calls = [1, 2, 3].map(() => rejection(rap.call('hang', {}, { timeoutMs: 15_000 })));
    await eventually('all three', () => server.stats().inFlight === 3);

    const error = await rejection(rap.call('fib', { n: 1 }));

    expect(error).toBeInstanceOf(TooManyRequestsError);
    expect(error.message).toBe('2 calls wait for a worker thread');
    await close();
    await Promise.all(calls);
    expect(server.stats().inFlight).toBe(0);
  });
});

describe('what the function throws', () => {
  /** The library as a thread can load it. */
  let library: Compiled;
  beforeAll(async () => {
    library = await compile([]);
  });
  afterAll(() => library.remove());

  it.each(['error', 'undefined', 'symbol', 'text', 'hostile', 'odd name'])(
    'is masked if Nest would mask it: %s',
    async (way) => {
      const { client } = await scope.serve([WorkerController]);
      const rap = client();
      const error = await rejection(rap.call('fail', way));
      expect(error).toBeInstanceOf(ServerError);
      expect(error.message).toBe('Internal server error');
      expect(await rap.call('fib', { n: 10 })).toBe(55);
    },
  );

  it('keeps name and message for the log, and for exposeErrors', async () => {
    const { client, log } = await scope.serve([WorkerController], { exposeErrors: true });
    const error = await rejection(client().call('fail', 'error'));
    expect(error).toBeInstanceOf(InvokeError);
    expect(error).toMatchObject({ remoteName: 'TypeError', message: 'x is not a function' });
    expect(log.lines.join()).toContain('x is not a function');
  });

  const rapModule = (): string => new URL(`file://${library.path('lib/index.ts')}`).href;
  it.each<[string, () => { module: string; name: string; args: unknown[] }, unknown, object]>([
    [
      'ParseError',
      () => ({
        module: rapModule(),
        name: 'ParseError',
        args: ['text', { details: { a: { b: [{ c: 1 }] } }, code: 'MINE' }],
      }),
      ParseError,
      { status: 1002, code: 'MINE', message: 'text', details: { a: { b: [{ c: 1 }] } } },
    ],
    [
      'CallTimeoutError',
      () => ({ module: rapModule(), name: 'CallTimeoutError', args: ['text', { phase: 'connect' }] }),
      CallTimeoutError,
      { status: 1005, code: 'ERR_RAP_CALL_TIMEOUT', message: 'text' },
    ],
    [
      'RpcException',
      () => ({
        module: import.meta.resolve('@nestjs/microservices'),
        name: 'RpcException',
        args: [{ message: 'text', left: 1 }],
      }),
      InvokeError,
      { remoteName: 'RpcException', message: 'text', details: { message: 'text', left: 1 } },
    ],
    [
      'ConflictException',
      () => ({
        module: import.meta.resolve('@nestjs/common'),
        name: 'ConflictException',
        args: ['version 3 exists'],
      }),
      InvokeError,
      { remoteName: 'ConflictException', message: 'version 3 exists', httpStatus: 409 },
    ],
  ])('arrives as what it was: %s', async (_name, make, Class, expected) => {
    const { client } = await scope.serve([WorkerController]);
    const error = await rejection(client().call('fail-with', make()));
    expect(error).toBeInstanceOf(Class);
    expect(error).toMatchObject(expected);
  });

  it('arrives without details that cannot leave the thread', async () => {
    const { client } = await scope.serve([WorkerController]);
    const error = await rejection(client().call('fail-with-details', { module: rapModule() }));
    expect(error).toBeInstanceOf(ParseError);
    expect(error).toMatchObject({ message: 'text', details: undefined });
  });

  it('is an RpcException or HttpException for filters and direct callers', async () => {
    scope.defer(async () => (await scope.serve([WorkerController])).close());
    const controller = new WorkerController();
    const conflict = {
      module: import.meta.resolve('@nestjs/common'),
      name: 'ConflictException',
      args: ['x'],
    };
    const rpc = { module: import.meta.resolve('@nestjs/microservices'), name: 'RpcException', args: ['x'] };
    const http: unknown = await rejection(controller.failWith(conflict));
    const exception = await rejection(controller.failWith(rpc));
    expect(http).toBeInstanceOf(HttpException);
    expect((http as HttpException).getStatus()).toBe(409);
    expect(exception).toBeInstanceOf(RpcException);
    expect(exception.stack).toContain('heavy.mjs');
  });
});

describe('what goes wrong with a thread', () => {
  it.each<[string, RegExp]>([
    ['exit', /exited with code: 3/],
    ['crash', /thrown in a timer/],
    ['missing', /heavy\.mjs exports no function "nope"/],
    ['constant', /heavy\.mjs exports no function "value"/],
    ['no-file', /nope\.mjs/],
    ['several', /several\(\) gives an iterator/],
    ['unclonable', /result of unclonable\(\) must be plain data: what the thread gave back/],
    ['undecorated', /has no @RunInWorker/],
  ])('fails its call and no other, and the log says why: %s', async (pattern, why) => {
    const { client, log } = await scope.serve([BrokenController, WorkerController]);
    const rap = client();
    const others = Promise.all(Array.from({ length: 20 }, () => rap.call('fib', { n: 10 })));

    const error = await rejection(rap.call(pattern, {}));

    expect(error).toBeInstanceOf(ServerError);
    expect(log.lines.join('\n')).toMatch(why);
    expect(await others).toEqual(Array.from({ length: 20 }, () => 55));
    expect(await within('the next call', rap.call('fib', { n: 10 }))).toBe(55);
  });

  it('is over when it takes more memory than it may', async () => {
    configureWorkers({ maxThreads: 1, maxHeapMb: 16 });
    scope.defer(() => configureWorkers({}));
    const { client, log, close } = await scope.serve([BrokenController, WorkerController]);
    const rap = client();
    expect(await rejection(rap.call('hog'))).toBeInstanceOf(ServerError);
    expect(log.lines.join()).toMatch(/memory limit/);
    expect(await within('the next call', rap.call('fib', { n: 10 }))).toBe(55);
    await close();
  });

  it('a channel is refused', async () => {
    const { client } = await scope.serve([BrokenController]);
    const channel = await client().channel('channel');
    const error = await rejection(channel.read());
    expect(error).toBeInstanceOf(ChannelError);
    expect(error.message).toMatch(/BrokenController\.channel: a channel cannot go to a worker thread/);
  });
});

describe('bytes', () => {
  it.each([[10], [100_000], [2_000_000]])('go to the thread and back: %d', async (size) => {
    const { client } = await scope.serve([WorkerController]);
    const rap = client();
    const answer = await rap.call<{ bytes: Buffer; memory: number }>('fill', {
      bytes: Buffer.alloc(size),
      value: 9,
    });
    expect(answer.bytes.equals(Buffer.alloc(size, 9))).toBe(true);
    // the thread got these bytes, and not the memory of the frame around them
    expect(answer.memory).toBe(size);
    expect((await rap.call<Buffer>('make', { size, part: false })).length).toBe(size);
    expect((await rap.call<Buffer>('make', { size, part: true })).length).toBe(size);
  });

  it('of a payload are handed over, and copied with transfer: false', async () => {
    scope.defer(async () => (await scope.serve([WorkerController])).close());
    class Direct {
      @RunInWorker(heavy, 'got') moved(_bytes: Uint8Array): Promise<unknown> {
        return inWorker();
      }
      @RunInWorker(heavy, 'got', { transfer: false }) copied(_bytes: Uint8Array): Promise<unknown> {
        return inWorker();
      }
    }
    const [large, small] = [new Uint8Array(100_000), new Uint8Array(100)];
    const direct = new Direct();
    expect(await direct.copied(large)).toEqual(['Uint8Array of 100000']);
    expect(large.byteLength).toBe(100_000);
    expect(await direct.moved(large)).toEqual(['Uint8Array of 100000']);
    expect(large.byteLength).toBe(0);
    expect(await direct.moved(small)).toEqual(['Uint8Array of 100']);
    expect(small.byteLength).toBe(100);
    const unclonable = rejection(direct.moved((() => {}) as never));
    expect((await unclonable).message).toMatch(
      /^arguments and result of got\(\) must be plain data: .*cloned/,
    );
  });
});

describe('@RunInWorker refuses at once', () => {
  it.each<[string, unknown, unknown, RegExp]>([
    ['a relative path', './heavy.js', 'fib', /Some\.method: \.\/heavy\.js is not a file; use new URL/],
    [
      'another protocol',
      new URL('https://example.org/heavy.js'),
      'fib',
      /example\.org\/heavy\.js is not a file/,
    ],
    ['nothing', undefined, 'fib', /undefined is not a file/],
    ['an empty name', heavy, '', /Some\.method: the function has no name/],
    ['a name that is not text', heavy, 7, /the function has no name/],
  ])('%s', (_name, module, name, message) => {
    class Some {
      method(): void {}
    }
    const decorate = (): unknown =>
      RunInWorker(module as URL, name as string)(
        Some.prototype,
        'method',
        Object.getOwnPropertyDescriptor(Some.prototype, 'method') as PropertyDescriptor,
      );
    expect(decorate).toThrow(message);
    expect(decorate).toThrow(TypeError);
  });

  it('anything but a method', () => {
    class Some {}
    const decorate = (): unknown => RunInWorker(heavy)(Some.prototype, 'field', undefined as never);
    expect(decorate).toThrow(/Some\.field: it can only decorate a method/);
  });
});

describe('configureWorkers', () => {
  it.each<[object, RegExp]>([
    [{ maxThread: 1 }, /unknown option "maxThread"/],
    [{ maxThreads: 0 }, /maxThreads must be an integer of at least 1, got 0/],
    [{ maxThreads: 1.5 }, /got 1\.5/],
    [{ maxThreads: Infinity }, /maxThreads must be/],
    [{ idleTimeoutMs: -1 }, /idleTimeoutMs must be an integer of at least 0, got -1/],
    [{ maxQueue: '7' }, /maxQueue must be/],
    [{ maxHeapMb: 3 }, /maxHeapMb must be an integer of at least 4/],
  ])('refuses %j', (options, message) => {
    expect(() => configureWorkers(options)).toThrow(message);
    expect(() => configureWorkers(options)).toThrow(RangeError);
  });

  it('refuses to change threads that run', async () => {
    const { client, close } = await scope.serve([WorkerController]);
    await client().call('fib', { n: 1 });
    expect(() => configureWorkers({ maxThreads: 1 })).toThrow(/before the first @RunInWorker handler runs/);
    await close();
    configureWorkers({});
  });
});
