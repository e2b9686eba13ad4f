import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import {
  AuthError,
  ChannelPattern,
  InvokeError,
  RapError,
  type RapErrorFields,
  type RapErrorOptions,
  registerError,
  type RegistrableError,
} from '../../../lib/index.js';
import { rejection, testScope } from '../../helpers/async.js';
import { startClient, startScript } from '../../helpers/fault-scope.js';
import { answerDeclare } from '../../helpers/raw-socket.js';

const scope = testScope();

let thrown: unknown;

@Controller()
class ThrowingController {
  @MessagePattern('throw') throw(): never {
    throw thrown;
  }
  @MessagePattern('stream') async *stream(): AsyncGenerator<number> {
    yield 1;
    throw await Promise.resolve(thrown);
  }
  @ChannelPattern('channel') async channel(): Promise<void> {
    throw await Promise.resolve(thrown);
  }
}

/** What a call of a handler that throws this rejects with. */
async function crossed(error: unknown): Promise<Error & Record<string, unknown>> {
  const { client } = await scope.serve([ThrowingController]);
  thrown = error;
  return rejection(client().call('throw', null, { timeoutMs: 2000 }));
}

class OutOfStockError extends RapError {
  constructor(message: string, options?: RapErrorOptions) {
    super(message, { code: 'ERR_OUT_OF_STOCK', httpStatus: 409, ...options });
  }
}

describe('an error class that is registered', () => {
  beforeAll(() => void registerError(OutOfStockError));

  it('arrives as itself, with status, code, message, details and HTTP status', async () => {
    const error = await crossed(
      new OutOfStockError('none left', { details: { left: 0, at: { shelf: [{ no: 7 }] } } }),
    );

    expect(error).toBeInstanceOf(OutOfStockError);
    expect(error.constructor).toBe(OutOfStockError);
    expect(error).toMatchObject({
      name: 'OutOfStockError',
      status: 1006,
      code: 'ERR_OUT_OF_STOCK',
      message: 'none left',
      details: { left: 0, at: { shelf: [{ no: 7 }] } },
      httpStatus: 409,
    });
  });

  it('arrives so at the end of a stream and of a channel, too', async () => {
    const { client } = await scope.serve([ThrowingController]);
    const rap = client();
    thrown = new OutOfStockError('none left');

    const stream = (async () => {
      for await (const _ of rap.stream('stream')) void _;
    })();
    const channel = await rap.channel('channel');

    expect(await rejection(stream)).toBeInstanceOf(OutOfStockError);
    expect(await rejection(channel.read())).toBeInstanceOf(OutOfStockError);
    expect(await rejection(channel.closed)).toBeInstanceOf(OutOfStockError);
  });

  it('keeps what the one who threw it said, whatever the constructor does with its options', async () => {
    class Stubborn extends RapError {
      constructor(message: string, _options?: RapErrorOptions) {
        super(`Stubborn: ${message}`, { status: 409, code: 'STUBBORN' });
      }
    }
    registerError(Stubborn);

    const error = await crossed(Object.assign(new Stubborn('text'), { details: { a: 1 }, code: 'OTHER' }));

    expect(error).toBeInstanceOf(Stubborn);
    expect(error).toMatchObject({ message: 'Stubborn: text', status: 409, code: 'OTHER', details: { a: 1 } });
  });

  it('keeps the remote name if it extends InvokeError', async () => {
    class StockInvokeError extends InvokeError {}
    registerError(StockInvokeError);

    const error = await crossed(new StockInvokeError('text', { remoteName: 'ValueError' }));

    expect(error).toBeInstanceOf(StockInvokeError);
    expect(error).toMatchObject({ status: 301, code: 'ERR_RAP_INVOKE', remoteName: 'ValueError' });
  });

  it('with another constructor says how it is made', async () => {
    class ShelfError extends RapError {
      constructor(readonly shelf: number) {
        super(`shelf ${shelf} is empty`, { status: 410, details: { shelf } });
      }
      static fromRap({ details }: RapErrorFields): ShelfError {
        return new ShelfError((details as { shelf: number }).shelf);
      }
    }
    registerError(ShelfError);

    const error = await crossed(new ShelfError(12));

    expect(error).toBeInstanceOf(ShelfError);
    expect(error).toMatchObject({ shelf: 12, message: 'shelf 12 is empty', status: 410 });
  });

  it('travels under the name it was registered with, and an own name of its instances does not matter', async () => {
    const Renamed = registerError(
      class a extends RapError {
        override name = 'Fancy';
      },
      { name: 'RenamedError' },
    );
    const error = await crossed(new Renamed('text'));
    expect(error).toBeInstanceOf(Renamed);
  });

  it.each<[string, (name: string) => RegistrableError]>([
    [
      'a constructor that throws',
      (name) =>
        ({
          [name]: class extends RapError {
            constructor(message: string, options?: RapErrorOptions) {
              super(message, options);
              if (options?.status !== undefined) throw new Error('cannot be made again');
            }
          },
        })[name] as RegistrableError,
    ],
    [
      'fromRap that throws',
      (name) =>
        ({
          [name]: class extends RapError {
            static fromRap(): never {
              throw new Error('no');
            }
          },
        })[name] as RegistrableError,
    ],
    [
      'fromRap that gives something else',
      (name) =>
        ({
          [name]: class extends RapError {
            static fromRap(): RapError {
              return { message: 'no error' } as never;
            }
          },
        })[name] as RegistrableError,
    ],
    [
      'fields that are frozen',
      (name) =>
        ({
          [name]: class extends RapError {
            constructor(message: string, options?: RapErrorOptions) {
              super(message, options);
              Object.freeze(this);
            }
          },
        })[name] as RegistrableError,
    ],
  ])('falls back to the class of the status: %s', async (what, make) => {
    const Class = registerError(make(`Bad ${what}`)) as new (message: string) => RapError;

    const error = await crossed(new Class('text'));

    expect(error.name).toBe('RpcCallError');
    expect(error).toMatchObject({ status: 1006, message: 'text' });
  });

  it('does not lend its class to a subclass', async () => {
    class SoldOutError extends OutOfStockError {}
    const error = await crossed(new SoldOutError('gone'));
    expect(error).toBeInstanceOf(RapError);
    expect(error).not.toBeInstanceOf(OutOfStockError);
    expect(error).toMatchObject({ code: 'ERR_OUT_OF_STOCK', message: 'gone', httpStatus: 409 });
  });
});

describe('a class of its own tells its name', () => {
  it('without a line for it', () => {
    class PlainError extends RapError {}
    expect(new PlainError('text').name).toBe('PlainError');
    expect(String(new PlainError('text'))).toBe('PlainError: text');
    expect(String(new RapError('text'))).toBe('RapError: text');
    expect(String(new (class extends RapError {})('text'))).toBe('RapError: text');
  });

  it('and shows what it says as JSON, without stack and cause', () => {
    const error = new AuthError('no', { details: { a: 1 }, cause: new Error('secret'), httpStatus: 403 });
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      name: 'AuthError',
      status: 401,
      code: 'ERR_RAP_AUTH',
      message: 'no',
      details: { a: 1 },
      httpStatus: 403,
    });
  });
});

/** Another class of this name. */
const named = (name: string): unknown => ({ [name]: class extends RapError {} })[name];

describe('registerError refuses', () => {
  class Known extends RapError {}
  beforeAll(() => void registerError(Known));

  it.each<[string, unknown, { name?: unknown } | undefined, RegExp]>([
    ['what is not a class', 'OutOfStock', undefined, /OutOfStock is not a class that extends RapError/],
    ['undefined', undefined, undefined, /undefined is not a class/],
    ['another class', class Other extends Error {}, undefined, /Other is not a class that extends RapError/],
    ['RapError itself', RapError, undefined, /RapError is not a class that extends/],
    ['a class of the package', AuthError, undefined, /AuthError is the name of a class of nestjs-rap/],
    ['the name of one', named('AuthError'), undefined, /AuthError is the name of a class/],
    [
      'a class without a name',
      class extends RapError {},
      undefined,
      /needs one: registerError\(Class, \{ name \}\)/,
    ],
    ['an empty name', Known, { name: '' }, /needs one/],
    ['a name that is not text', Known, { name: 7 }, /needs one/],
    ['a long name', class X extends RapError {}, { name: 'x'.repeat(129) }, /more than 128 bytes/],
    ['a name twice', named('Known'), undefined, /another class is registered as Known already/],
    ['a class under two names', Known, { name: 'Second' }, /class Second is registered as Known already/],
  ])('%s', (_name, Class, options, message) => {
    const register = (): unknown => registerError(Class as RegistrableError, options as { name?: string });
    expect(register).toThrow(message);
    expect(register).toThrow(expect.objectContaining({ name: 'RegisteredError', status: 1004 }) as Error);
  });

  it('not the same class twice', () => {
    expect(registerError(Known)).toBe(Known);
  });
});

describe('the name of an error from the wire', () => {
  it.each([
    ['__proto__'],
    ['constructor'],
    ['toString'],
    ['process.exit(1)'],
    ['RapError'],
    ['ConnectionLostError'],
    ['x'.repeat(4000)],
    [7],
    [null],
    [['OutOfStockError']],
    [{ name: 'OutOfStockError' }],
  ])('is compared and nothing else: %j', async (name) => {
    const { port } = await startScript(async (peer) => {
      await answerDeclare(peer);
      const [, id] = await peer.next((frame) => frame[0] === 101, 60_000);
      peer.send([101, id, { status_code: 500, error: { name } }, 'text']);
    });
    const error = await rejection(startClient(port).call('x'));
    expect(error.constructor.name).toBe('ServerError');
    expect(error).toMatchObject({ status: 500, message: 'text', name: 'ServerError' });
  });

  it.each([[399], [600], [404.5], ['404'], [-1], [null], [NaN], [[404]]])(
    'an HTTP status that is none is none: %j',
    async (http) => {
      const { port } = await startScript(async (peer) => {
        await answerDeclare(peer);
        const [, id] = await peer.next((frame) => frame[0] === 101, 60_000);
        peer.send([101, id, { status_code: 500, error: { http } }, 'text']);
      });
      expect((await rejection(startClient(port).call('x')))['httpStatus']).toBe(undefined);
    },
  );
});
