import { AsyncLocalStorage } from 'node:async_hooks';
import { Readable } from 'node:stream';
import {
  type CallHandler,
  ClassSerializerInterceptor,
  Controller,
  type ExecutionContext,
  type NestInterceptor,
  UseInterceptors,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { Ctx, MessagePattern } from '@nestjs/microservices';
import { Exclude } from 'class-transformer';
import { lastValueFrom, map, Observable, of, tap, toArray } from 'rxjs';
import { AuthError, type RapContext } from '../../lib/index.js';
import { eventually, Gate, rejection, testScope } from '../helpers/async.js';
import { collect } from '../helpers/streams.js';

const scope = testScope();
const user = new AsyncLocalStorage<string>();
const seen: string[] = [];
let written: number;
let asked: Gate;
beforeEach(() => {
  seen.length = 0;
  written = 0;
  asked = new Gate();
});

class User {
  constructor(readonly name: string) {}
  @Exclude() password = 'secret';
}

class Inside implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return user.run('the user', () => next.handle());
  }
}

/** Keeps what it sees, and gives it again. */
class Keep implements NestInterceptor {
  readonly #kept = new Map<string, unknown>();

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const { target } = context.switchToRpc().getContext<RapContext>();
    if (this.#kept.has(target)) return of(this.#kept.get(target));
    return next.handle().pipe(tap((value) => this.#kept.set(target, value)));
  }
}

class Plus implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((value) => ({ value })));
  }
}

const names = ['a', 'b', 'c'];
const shared = (function* () {
  yield* [1, 2];
})();

@Controller()
class Users {
  @MessagePattern('async') async *async(): AsyncIterable<User> {
    for (const name of names) yield new User(name);
  }

  @MessagePattern('sync') *sync(): Iterable<User> {
    for (const name of names) yield new User(name);
  }

  @MessagePattern('readable') readable(): Readable {
    return Readable.from(names.map((name) => new User(name)));
  }

  @MessagePattern('nested') nested(): Observable<unknown> {
    return of(this.async(), Readable.from([new User('d')]), new User('e'));
  }

  @MessagePattern('one') one(): User {
    return new User('a');
  }

  @MessagePattern('single') async *single(): AsyncIterable<number> {
    yield 1;
  }

  @MessagePattern('fail') async *fail(): AsyncIterable<number> {
    yield 1;
    throw new AuthError('enough');
  }

  @MessagePattern('same') same(): unknown {
    return shared;
  }

  @MessagePattern('large') async *large(): AsyncIterable<string> {
    try {
      for (;;) {
        written += 1;
        yield 'x'.repeat(16 * 1024);
      }
    } finally {
      seen.push('left');
    }
  }

  @MessagePattern('slow') async *slow(@Ctx() { signal }: RapContext): AsyncIterable<number> {
    try {
      yield 1;
      asked.open();
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
    } finally {
      seen.push('left');
    }
  }
}

@Controller()
@UseInterceptors(Inside)
class Readers {
  @MessagePattern('store.async') async *async(): AsyncIterable<string> {
    try {
      yield String(user.getStore());
      await new Promise((resolve) => setImmediate(resolve));
      yield String(user.getStore());
    } finally {
      seen.push(String(user.getStore()));
    }
  }

  @MessagePattern('store.sync') *sync(): Iterable<string> {
    try {
      yield String(user.getStore());
      yield String(user.getStore());
    } finally {
      seen.push(String(user.getStore()));
    }
  }

  @MessagePattern('store.endless') endless(): Observable<string> {
    return new Observable((subscriber) => {
      subscriber.next(String(user.getStore()));
      return () => seen.push(String(user.getStore()));
    });
  }

  /** Emits until it is left, without a pause. */
  @MessagePattern('store.flood') flood(): Observable<string> {
    return new Observable((subscriber) => {
      while (!subscriber.closed) subscriber.next('x'.repeat(64 * 1024));
      seen.push('left');
    });
  }

  @MessagePattern('store.observable') observable(): Observable<string> {
    return new Observable((subscriber) => {
      subscriber.next(String(user.getStore()));
      subscriber.next(String(user.getStore()));
      subscriber.complete();
      return () => seen.push(String(user.getStore()));
    });
  }
}

const serialized = names.map((name) => ({ name }));

it.each(['async', 'sync', 'readable'])(
  'a serializer of Nest sees each item of a stream: %s',
  async (pattern) => {
    const test = await scope.serve([Users], {
      prepare: (app) => app.useGlobalInterceptors(new ClassSerializerInterceptor(new Reflector())),
    });
    const client = test.client();
    expect(await client.call('one')).toEqual({ name: 'a' });
    expect(await collect(client.stream(pattern))).toEqual(serialized);
    expect(await lastValueFrom(client.send(pattern, {}).pipe(toArray()))).toEqual(serialized);
  },
);

it('a serializer of Nest sees each item of the streams that an Observable gives', async () => {
  const test = await scope.serve([Users], {
    prepare: (app) => app.useGlobalInterceptors(new ClassSerializerInterceptor(new Reflector())),
  });
  const expected = [...names, 'd', 'e'].map((name) => ({ name }));
  expect(await collect(test.client().stream('nested'))).toEqual(expected);
});

it('what an interceptor makes of a value it makes of each item', async () => {
  const test = await scope.serve([Users], { prepare: (app) => app.useGlobalInterceptors(new Plus()) });
  expect(await collect(test.client().stream('single'))).toEqual([{ value: 1 }]);
  const session = await test.client().openSession();
  // a generator streams behind interceptors, too, however many items it has
  expect(await collect((await session.execute('single')) as AsyncIterable<unknown>)).toEqual([{ value: 1 }]);
  expect(await rejection(test.client().call('single'))).toMatchObject({ name: 'ChannelError' });
  expect(await rejection(collect(test.client().stream('fail')))).toMatchObject({
    name: 'AuthError',
    message: 'enough',
  });
});

it.each(['async', 'sync', 'observable'])(
  'the store of an interceptor is there for each value and the end: %s',
  async (kind) => {
    const test = await scope.serve([Readers]);
    expect(await collect(test.client().stream(`store.${kind}`))).toEqual(['the user', 'the user']);
    expect(seen).toEqual(['the user']);
  },
);

it.each(['store.endless', 'store.async'])(
  'the store of an interceptor is there when a reader leaves %s',
  async (pattern) => {
    const test = await scope.serve([Readers]);
    for await (const item of test.client().stream(pattern)) {
      expect(item).toBe('the user');
      break;
    }
    await eventually('it is told', () => seen.length === 1);
    expect(seen).toEqual(['the user']);
  },
);

it('an Observable that never pauses is left behind an interceptor when too much of it waits', async () => {
  const test = await scope.serve([Readers]);
  expect(await rejection(collect(test.client().stream('store.flood')))).toMatchObject({
    name: 'ChannelError',
  });
  expect(seen).toEqual(['left']);
});

it('a stream behind an interceptor is no further ahead of its reader than without, and is left at once', async () => {
  const test = await scope.serve([Users], { prepare: (app) => app.useGlobalInterceptors(new Plus()) });
  const items = test.client().stream('large')[Symbol.asyncIterator]();
  for (let i = 0; i < 3; i++) await items.next();
  await test.client().call('one');
  expect(written).toBeLessThan(64);
  await items.return?.();
  await eventually('the generator has ended', () => seen.length === 1);
  await eventually('its place is free', () => test.server.stats().inFlight === 0);
});

it('a stream behind an interceptor is left while an item is awaited', async () => {
  const test = await scope.serve([Users], { prepare: (app) => app.useGlobalInterceptors(new Plus()) });
  const items = test.client().stream('slow')[Symbol.asyncIterator]();
  await items.next();
  await asked.opened;
  await items.return?.();
  await eventually('the generator has ended', () => seen.length === 1);
});

it.each(['async', 'readable'])(
  'an interceptor that keeps the result of a stream is refused: %s',
  async (pattern) => {
    const test = await scope.serve([Users], { prepare: (app) => app.useGlobalInterceptors(new Keep()) });
    const client = test.client();
    expect(await collect(client.stream(pattern))).toHaveLength(3);
    for (const again of [collect(client.stream(pattern)), lastValueFrom(client.send(pattern, {}))])
      expect(await rejection(again)).toMatchObject({
        name: 'ChannelError',
        message: expect.stringContaining('cannot keep a stream') as string,
      });
    expect(await client.call('one')).toMatchObject({ name: 'a' });
    expect(await client.call('one')).toMatchObject({ name: 'a' });
  },
);

it('a generator that is given twice is refused the second time', async () => {
  for (const interceptors of [[], [new Plus()]]) {
    const test = await scope.serve([Users], { prepare: (app) => app.useGlobalInterceptors(...interceptors) });
    const client = test.client();
    if (interceptors.length === 0) expect(await collect(client.stream('same'))).toEqual([1, 2]);
    expect(await rejection(collect(client.stream('same')))).toMatchObject({
      message: expect.stringContaining('was read before') as string,
    });
  }
});
