import 'reflect-metadata';
import { Controller, UseInterceptors } from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { firstValueFrom, type Observable, tap } from 'rxjs';
import * as rap from '../../../lib/index.js';
import { InvokeError, RapError, type RapErrorOptions, ServerError } from '../../../lib/index.js';
import { eventually, rejection, testScope } from '../../helpers/async.js';

const scope = testScope();

type ErrorClass = new (message: string, options?: RapErrorOptions) => RapError;

const classes: [string, number, string][] = [
  ['RapError', 1006, 'ERR_RAP_RPC_CALL'],
  ['InvokeError', 301, 'ERR_RAP_INVOKE'],
  ['AuthError', 401, 'ERR_RAP_AUTH'],
  ['FuncNotFoundError', 404, 'ERR_RAP_FUNC_NOT_FOUND'],
  ['TooManyRequestsError', 429, 'ERR_RAP_TOO_MANY_REQUESTS'],
  ['ServerError', 500, 'ERR_RAP_SERVER'],
  ['LifeCycleError', 1001, 'ERR_RAP_LIFE_CYCLE'],
  ['ParseError', 1002, 'ERR_RAP_PARSE'],
  ['ProtocolError', 1003, 'ERR_RAP_PROTOCOL'],
  ['RegisteredError', 1004, 'ERR_RAP_REGISTERED'],
  ['RunTimeError', 1005, 'ERR_RAP_RUN_TIME'],
  ['RpcCallError', 1006, 'ERR_RAP_RPC_CALL'],
  ['CryptoError', 1007, 'ERR_RAP_CRYPTO'],
  ['ChannelError', 1008, 'ERR_RAP_CHANNEL'],
  ['ChannelLifecycleError', 10081, 'ERR_RAP_CHANNEL_LIFE_CYCLE'],
  ['ConnectionLostError', 1006, 'ERR_RAP_CONNECTION_LOST'],
  ['CallTimeoutError', 1005, 'ERR_RAP_CALL_TIMEOUT'],
  ['CallCancelledError', 1006, 'ERR_RAP_CALL_CANCELLED'],
  ['OverloadError', 429, 'ERR_RAP_OVERLOAD'],
];
const classOf = (name: string): ErrorClass =>
  (rap as unknown as Record<string, ErrorClass>)[name] as ErrorClass;

/** What the handlers throw, in this test. */
let thrown: unknown;

@Controller()
class ThrowingController {
  @MessagePattern('throw') throw(): never {
    throw thrown;
  }
  @UseInterceptors({
    intercept: (_: unknown, next: { handle(): Observable<unknown> }) => next.handle().pipe(tap({})),
  })
  @MessagePattern('throw-later')
  throwLater(): Promise<never> {
    return Promise.reject(thrown);
  }
  @MessagePattern('fine') fine(@Payload() data: unknown): unknown {
    return data;
  }
}

describe('errors of rap, thrown in a handler, arrive at the caller', () => {
  it('the table names every class that the package exports', () => {
    const exported = Object.entries(rap)
      .filter(([, value]) => typeof value === 'function' && (value as ErrorClass).prototype instanceof Error)
      .map(([name]) => name);
    expect(classes.map(([name]) => name).toSorted()).toEqual(exported.toSorted());
  });

  describe.each(classes)('%s', (name, status, code) => {
    const Class = classOf(name);

    it('has its status, code and name, and is an RpcException', () => {
      const cause = new Error('why');
      const error = new Class('text', { details: { a: 1 }, cause });
      expect(error).toBeInstanceOf(Error);
      expect(error).toBeInstanceOf(RpcException);
      expect(error).toBeInstanceOf(RapError);
      expect(error).toMatchObject({ name, status, code, message: 'text', details: { a: 1 }, cause });
      expect(error.getError()).toBe(error);
      expect(String(error)).toBe(`${name}: text`);
      expect(error.stack).toContain('errors.spec');
    });

    it.each(['throw', 'throw-later'])(
      'same class, status, code, message and details: %s',
      async (pattern) => {
        const { client } = await scope.serve([ThrowingController]);
        thrown = new Class('text', { details: { field: 'a', list: [1, 'x'] }, cause: new Error('secret') });

        const error = await rejection(client().call(pattern));

        expect(error).toBeInstanceOf(Class);
        expect(error).toBeInstanceOf(RapError);
        expect(error).toBeInstanceOf(RpcException);
        expect(error).toMatchObject({
          status,
          code,
          message: 'text',
          details: { field: 'a', list: [1, 'x'] },
        });
        expect(error.cause).toBe(undefined);
        if (name !== 'RapError') expect(error.name).toBe(name);
      },
    );

    it('with a code of its own, also through send', async () => {
      const { client } = await scope.serve([ThrowingController]);
      thrown = new Class('text', { code: 'OUT_OF_STOCK' });

      const error = await rejection(firstValueFrom(client().send('throw', {})));

      expect(error).toBeInstanceOf(RapError);
      expect(error).toMatchObject({ status, code: 'OUT_OF_STOCK', message: 'text', details: undefined });
    });
  });

  it('InvokeError keeps the remote name', async () => {
    const { client } = await scope.serve([ThrowingController]);
    thrown = new InvokeError('text', { remoteName: 'ZeroDivisionError' });

    expect(await rejection(client().call('throw'))).toMatchObject({ remoteName: 'ZeroDivisionError' });
  });

  it('a class of the user arrives with status, code and details of its own', async () => {
    const { client } = await scope.serve([ThrowingController]);
    class OutOfStockError extends RapError {
      override name = 'OutOfStockError';
      constructor(readonly article: number) {
        super(`article ${article} is out of stock`, {
          status: 409,
          code: 'OUT_OF_STOCK',
          details: { article },
        });
      }
    }
    thrown = new OutOfStockError(7);

    const error = await rejection(client().call('throw'));

    expect(error.constructor).toBe(RapError);
    expect(error).toMatchObject({
      status: 409,
      code: 'OUT_OF_STOCK',
      message: 'article 7 is out of stock',
      details: { article: 7 },
    });
  });

  it.each([200, 0, 302, NaN, -1, 2.5, 'x' as unknown as number])(
    'an error whose status %s is none of an error arrives as an error all the same',
    async (status) => {
      const { client } = await scope.serve([ThrowingController]);
      thrown = new RapError('text', { status });

      const error = await rejection(client().call('throw', null, { timeoutMs: 1000 }));

      expect(error).toBeInstanceOf(RapError);
      expect(error.name).not.toBe('CallTimeoutError');
      expect(error.message).toBe('text');
    },
  );

  it('details that are too big are left out, the error arrives', async () => {
    const { client } = await scope.serve([ThrowingController]);
    thrown = new rap.ParseError('text', { details: { text: 'x'.repeat(10_000) } });

    expect(await rejection(client().call('throw'))).toMatchObject({
      status: 1002,
      message: 'text',
      details: undefined,
    });
  });
});

describe('RpcException', () => {
  it('with a text arrives as InvokeError', async () => {
    const { client } = await scope.serve([ThrowingController]);
    thrown = new RpcException('out of stock');

    const error = await rejection(client().call('throw'));

    expect(error).toBeInstanceOf(InvokeError);
    expect(error).toMatchObject({ status: 301, remoteName: 'RpcException', message: 'out of stock' });
    expect(error['details']).toBe(undefined);
  });

  it.each<[object, string]>([
    [{ code: 'STOCK', message: 'out of stock', left: 0 }, 'out of stock'],
    [{ status: 409, message: 'conflict' }, 'conflict'],
    [{ status: 'error', message: 'text', more: 1 }, 'text'],
  ])('with the object %j arrives with its message, and the object as details', async (object, message) => {
    const { client } = await scope.serve([ThrowingController]);
    thrown = new RpcException(object);

    expect(await rejection(client().call('throw'))).toMatchObject({
      name: 'InvokeError',
      remoteName: 'RpcException',
      message,
      details: object,
    });
  });

  it('with an object without a message arrives with the object as details', async () => {
    const { client } = await scope.serve([ThrowingController]);
    thrown = new RpcException({ errors: ['a', 'b'] });

    expect(await rejection(client().call('throw'))).toMatchObject({ details: { errors: ['a', 'b'] } });
  });

  it('of a subclass arrives with what getError() gives', async () => {
    const { client } = await scope.serve([ThrowingController]);
    class ConflictException extends RpcException {
      constructor() {
        super({ code: 'CONFLICT', message: 'version 3 exists' });
      }
    }
    thrown = new ConflictException();

    expect(await rejection(client().call('throw-later'))).toMatchObject({
      message: 'version 3 exists',
      details: { code: 'CONFLICT' },
    });
  });
});

describe('unknown errors', () => {
  const odd: [string, unknown][] = [
    ['an Error', new TypeError('secret')],
    ['a text', 'secret'],
    ['undefined', undefined],
    ['null', null],
    ['a number', 7],
    ['a symbol', Symbol('secret')],
    ['an object', { message: 'secret' }],
    [
      'an object with a getter that throws',
      Object.defineProperty({}, 'message', {
        get() {
          throw new Error('secret');
        },
      }),
    ],
    ['an Error with a cause', new Error('secret', { cause: new Error('secret') })],
  ];
  it.each(odd)('%s is masked as ServerError 500 and logged', async (_, error) => {
    const { client, log } = await scope.serve([ThrowingController]);
    const caller = client();
    thrown = error;

    const seen = await rejection(caller.call('throw', null, { timeoutMs: 2000 }));

    expect(seen).toBeInstanceOf(ServerError);
    expect(seen).toMatchObject({ status: 500, code: 'ERR_RAP_SERVER', message: 'Internal server error' });
    expect(JSON.stringify([seen, seen.message, seen['details']])).not.toContain('secret');
    expect(log.lines.length).toBeGreaterThan(0);
    expect(await caller.call('fine', 1)).toBe(1);
  });

  it('exposeErrors true sends name and message, and no stack', async () => {
    const { client, log } = await scope.serve([ThrowingController], { exposeErrors: true });
    const caller = client();
    thrown = new TypeError('x is not a function', { cause: new Error('the cause') });

    for (const pattern of ['throw', 'throw-later']) {
      // oxlint-disable-next-line no-await-in-loop
      const error = await rejection(caller.call(pattern));
      expect(error).toBeInstanceOf(InvokeError);
      expect(error).toMatchObject({ status: 301, remoteName: 'TypeError', message: 'x is not a function' });
      expect(JSON.stringify(error)).not.toContain('errors.spec');
    }
    expect(log.lines.join('\n')).toContain('x is not a function');
  });

  it('exposeErrors true leaves errors that are known as they are', async () => {
    const { client } = await scope.serve([ThrowingController], { exposeErrors: true });
    const caller = client();

    thrown = new rap.AuthError('no');
    expect(await rejection(caller.call('throw'))).toBeInstanceOf(rap.AuthError);
    thrown = new RpcException('text');
    expect(await rejection(caller.call('throw'))).toMatchObject({
      remoteName: 'RpcException',
      message: 'text',
    });
  });

  it('exposeErrors of one server is not that of another in the same process', async () => {
    const open = await scope.serve([ThrowingController], { exposeErrors: true });
    const masked = await scope.serve([ThrowingController]);
    thrown = new TypeError('secret');

    expect(await rejection(open.client().call('throw'))).toMatchObject({ message: 'secret' });
    expect(await rejection(masked.client().call('throw'))).toMatchObject({
      message: 'Internal server error',
    });
  });

  it.each(['throw', 'fine'])('calls after it come through: %s', async (pattern) => {
    const { client, server } = await scope.serve([ThrowingController]);
    const caller = client();
    thrown = new Error('x');

    await Promise.allSettled(Array.from({ length: 50 }, () => caller.call(pattern, 1)));

    expect(await caller.call('fine', 1)).toBe(1);
    await eventually('no call left', () => server.stats().inFlight === 0);
  });
});

const lost = (lines: readonly string[]): string[] =>
  lines.filter((line) => line.includes('details of an error'));

describe('details that do not arrive whole', () => {
  it('are a line in the log, once for each handler', async () => {
    const { client, log } = await scope.serve([ThrowingController]);
    const caller = client();
    thrown = new rap.ParseError('text', { details: Array.from({ length: 1000 }, (_, i) => `reason ${i}`) });

    const error = await rejection(caller.call('throw'));
    await rejection(caller.call('throw'));
    await rejection(caller.call('throw-later'));

    expect((error['details'] as string[]).slice(0, 2)).toEqual(['reason 0', 'reason 1']);
    expect(lost(log.lines)).toEqual([
      expect.stringMatching(/warn RapServer: \/default\/throw: details of an error are too large/) as string,
      expect.stringMatching(/warn RapServer: \/default\/throw-later: /) as string,
    ]);
  });

  it('and none for those that do', async () => {
    const { client, log } = await scope.serve([ThrowingController]);
    thrown = new rap.ParseError('text', { details: { a: { b: { c: { d: 1 } } } } });

    expect(await rejection(client().call('throw'))).toMatchObject({ details: { a: { b: { c: { d: 1 } } } } });
    expect(lost(log.lines)).toEqual([]);
  });
});

it("what a handler's own call fails with reaches the outer caller with class and code, as something that may have run", async () => {
  const inner = new rap.RapClient({ path: '/nonexistent/rap.sock' });
  scope.defer(() => inner.close());
  let seen: unknown;
  @Controller()
  class OuterController {
    @MessagePattern('outer') async outer(): Promise<unknown> {
      try {
        return await inner.call('inner');
      } catch (error) {
        seen = error;
        throw error;
      }
    }
  }
  const { client } = await scope.serve([OuterController]);

  const error = await rejection(client().call('outer'));

  expect(seen).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
  expect(error).toBeInstanceOf(rap.ConnectionLostError);
  expect(error).toMatchObject({ code: 'ERR_RAP_CONNECTION_LOST', status: 1006, sent: 'unknown' });
});
