import 'reflect-metadata';
import {
  Catch,
  Controller,
  type RpcExceptionFilter,
  UseFilters,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { Ctx, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import {
  concat,
  delay,
  EMPTY,
  firstValueFrom,
  from,
  lastValueFrom,
  NEVER,
  type Observable,
  of,
  tap,
  throwError,
} from 'rxjs';
import { toArray } from 'rxjs/operators';
import { RapContext, ServerError } from '../../../lib/index.js';
import { eventually, Gate, rejection, testScope } from '../../helpers/async.js';
import { EventPattern } from '../../helpers/event-pattern.js';
import { RawSocket } from '../../helpers/raw-socket.js';

const scope = testScope();
const around = {
  intercept: (_: unknown, next: { handle(): Observable<unknown> }) => next.handle().pipe(tap({})),
};

/** What handlers may give back, and what the caller gets. */
const results: [string, () => unknown, unknown][] = [
  ['0', () => 0, 0],
  ["''", () => '', ''],
  ['false', () => false, false],
  ['null', () => null, null],
  ['undefined', () => undefined, null],
  ['an empty array', () => [], []],
  ['an empty object', () => ({}), {}],
  ['a nested value', () => ({ a: [{ b: null }] }), { a: [{ b: null }] }],
  ['a promise', () => Promise.resolve(7), 7],
  ['a promise of undefined', () => Promise.resolve(), null],
  ['an Observable', () => of(7), 7],
  ['a promise of an Observable', () => Promise.resolve(of(7)), 7],
  ['an asynchronous Observable', () => of(7).pipe(delay(1)), 7],
  ['an Observable of 0', () => of(0), 0],
  ['an Observable of undefined', () => of(undefined), null],
  ['an empty Observable', () => EMPTY, null],
];

describe('results', () => {
  @Controller()
  class PlainController {
    @MessagePattern('result') result(@Payload() index: number): unknown {
      return results[index]?.[1]();
    }
  }
  @UseInterceptors(around)
  @Controller()
  class InterceptedController {
    @MessagePattern('intercepted') result(@Payload() index: number): unknown {
      return results[index]?.[1]();
    }
  }

  it.each(results)(
    '%s arrives with call and send, with and without interceptors',
    async (name, _, expected) => {
      const { client } = await scope.serve([PlainController, InterceptedController]);
      const rap = client();
      const index = results.findIndex(([other]) => other === name);

      expect(await rap.call('result', index)).toEqual(expected);
      expect(await rap.call('intercepted', index)).toEqual(expected);
      // one value and the end, never twice; nothing only of what has none
      const sent = name === 'an empty Observable' ? [] : [expected];
      expect(await lastValueFrom(rap.send('result', index).pipe(toArray()))).toEqual(sent);
      expect(await lastValueFrom(rap.send('intercepted', index).pipe(toArray()))).toEqual(sent);
    },
  );

  describe('an Observable over send()', () => {
    @Catch()
    class Silent implements RpcExceptionFilter {
      catch(): Observable<never> {
        return EMPTY;
      }
    }
    @Controller()
    class ObservableController {
      @MessagePattern('rows') rows(): Observable<number> {
        return from([]);
      }
      @MessagePattern('late') late(): Observable<never> {
        return EMPTY.pipe(delay(1));
      }
      @UseFilters(Silent)
      @MessagePattern('hushed')
      hushed(): never {
        throw new Error('for the filter');
      }
      @MessagePattern('one-then-error') oneThenError(): Observable<number> {
        return concat(
          of(1),
          throwError(() => new RpcException('after it')),
        );
      }
    }

    it.each(['rows', 'late', 'hushed'])('without a value completes without one: %s', async (pattern) => {
      const { client } = await scope.serve([ObservableController]);
      expect(await lastValueFrom(client().send(pattern, {}).pipe(toArray()))).toEqual([]);
    });

    it('that fails after its first value gives the value, then the error', async () => {
      const { client } = await scope.serve([ObservableController]);
      const values: unknown[] = [];
      const source = client()
        .send('one-then-error', {})
        .pipe(tap((value) => values.push(value)));
      expect((await rejection(lastValueFrom(source)))['message']).toBe('after it');
      expect(values).toEqual([1]);
    });
  });

  it('a void handler gives null, as a value that firstValueFrom finds', async () => {
    const { client } = await scope.serve([PlainController]);
    expect(await firstValueFrom(client().send('result', 4))).toBe(null);
  });

  it('an Observable that fails, at once or later, fails the call', async () => {
    @Controller()
    class FailingController {
      @MessagePattern('at-once') atOnce(): Observable<never> {
        return throwError(() => new Error('secret'));
      }
      @MessagePattern('in-promise') inPromise(): Promise<Observable<never>> {
        return Promise.resolve(throwError(() => new Error('secret')));
      }
    }
    const { client } = await scope.serve([FailingController]);
    const rap = client();

    expect(await rejection(rap.call('at-once'))).toBeInstanceOf(ServerError);
    expect(await rejection(rap.call('in-promise'))).toBeInstanceOf(ServerError);
  });

  it('each call subscribes once', async () => {
    let subscriptions = 0;
    @Controller()
    class SubscribedController {
      @MessagePattern('subscribed') subscribed(): Observable<number> {
        return of(1).pipe(tap({ subscribe: () => (subscriptions += 1) }));
      }
    }
    const { client } = await scope.serve([SubscribedController]);

    await client().call('subscribed');

    expect(subscriptions).toBe(1);
  });

  it('a handler without a caller any more is unsubscribed', async () => {
    const started = new Gate();
    let unsubscribed = false;
    @Controller()
    class NeverController {
      @MessagePattern('never') never(): Observable<never> {
        return NEVER.pipe(tap({ subscribe: () => started.open(), unsubscribe: () => (unsubscribed = true) }));
      }
    }
    const { port } = await scope.serve([NeverController]);
    const raw = await RawSocket.open(port);
    raw.send([101, 5, { target: '/default/never' }, null]);
    await started.opened;

    raw.destroy();

    await eventually('the unsubscription', () => unsubscribed);
  });

  it('a result that cannot be encoded gives ServerError, and the connection lives on', async () => {
    @Controller()
    class OddController {
      @MessagePattern('circular') circular(): unknown {
        const ring: Record<string, unknown> = {};
        ring['ring'] = ring;
        return ring;
      }
      @MessagePattern('fine') fine(): number {
        return 1;
      }
    }
    const { client, server } = await scope.serve([OddController]);
    const rap = client();

    const error = await rejection(rap.call('circular', null, { timeoutMs: 1000 }));

    expect(error.name).not.toBe('CallTimeoutError');
    expect(await rap.call('fine')).toBe(1);
    expect(server.stats()).toMatchObject({ connections: 1, inFlight: 0 });
  });
});

describe('nil payloads', () => {
  @Controller()
  class NilController {
    @MessagePattern('nil') nil(@Payload() data: unknown): boolean {
      return data === null || data === undefined;
    }
    @MessagePattern('prop') prop(@Payload('a') a: unknown): boolean {
      return a === null || a === undefined;
    }
    @UseInterceptors(around)
    @MessagePattern('intercepted')
    intercepted(@Payload() data: unknown): boolean {
      return data === null || data === undefined;
    }
  }
  it.each(['nil', 'prop', 'intercepted'])('%s: nothing, undefined and null may be sent', async (name) => {
    const { client } = await scope.serve([NilController]);
    const rap = client();

    expect(await rap.call(name)).toBe(true);
    expect(await rap.call(name, undefined)).toBe(true);
    expect(await rap.call(name, null)).toBe(true);
    expect(await firstValueFrom(rap.send(name, undefined))).toBe(true);
    expect(await firstValueFrom(rap.send(name, null))).toBe(true);
  });

  it.each([[0], [''], [false], [[]], [{}]])('the payload %j arrives as it is', async (payload) => {
    @Controller()
    class EchoController {
      @MessagePattern('echo') echo(@Payload() data: unknown): unknown {
        return [data];
      }
    }
    const { client } = await scope.serve([EchoController]);
    expect(await client().call('echo', payload)).toEqual([payload]);
  });

  it('an event may be without data', async () => {
    const seen: unknown[] = [];
    @Controller()
    class EventController {
      @EventPattern('tick') tick(@Payload() data: unknown): void {
        seen.push(data ?? 'nil');
      }
    }
    const { client } = await scope.serve([EventController]);
    const rap = client();

    rap.emit('tick', undefined);
    rap.emit('tick', null);

    await eventually('two events', () => seen.length === 2);
    expect(seen).toEqual(['nil', 'nil']);
  });
});

describe('the context', () => {
  @Controller()
  class ContextController {
    @MessagePattern('context') context(@Ctx() ctx: RapContext): unknown {
      return {
        target: ctx.target,
        group: ctx.group,
        name: ctx.name,
        pattern: ctx.getPattern(),
        args: ctx.getArgs().length,
        arg0: ctx.getArgByIndex(0),
        odd: ctx.correlationId % 2,
        header: { ...ctx.header },
        metadata: { ...ctx.metadata },
        peer: { ...ctx.peer, port: typeof ctx.peer.port },
        time: (ctx.deadline ?? 0) > Date.now() && (ctx.deadline ?? 0) <= Date.now() + 5000,
        aborted: ctx.signal.aborted,
      };
    }
    @MessagePattern('reserved') reserved(@Ctx() ctx: RapContext): void {
      ctx.setHeader('status_code', 200);
    }
    @MessagePattern('header') header(@Ctx() ctx: RapContext): string {
      ctx.setHeader('etag', 'v1');
      return 'body';
    }
  }

  it('tells target, header, connection and deadline', async () => {
    const { client } = await scope.serve([ContextController], { runTimeoutMs: 5000 });

    const seen = await client({ metadata: { who: 'ann' } }).call('context', null, { header: { a: 'b' } });

    expect(seen).toEqual({
      target: '/default/context',
      group: 'default',
      name: 'context',
      pattern: 'context',
      args: 2,
      arg0: '/default/context',
      odd: 1,
      header: { target: '/default/context', a: 'b' },
      metadata: { who: 'ann' },
      peer: { address: '127.0.0.1', port: 'number', family: 'IPv4' },
      time: true,
      aborted: false,
    });
  });

  it('sets headers of the answer, but none of the protocol', async () => {
    const { port, client } = await scope.serve([ContextController]);
    const raw = await RawSocket.open(port);
    scope.defer(() => raw.destroy());

    raw.send([101, 5, { target: '/default/header' }, null]);

    expect(await raw.answer(5)).toEqual([101, 5, { etag: 'v1' }, 'body']);
    expect(await rejection(client().call('reserved'))).toBeInstanceOf(ServerError);
    raw.destroy();
  });

  it('aborts its signal at the run timeout and when the client goes', async () => {
    const aborted: string[] = [];
    const started = new Gate();
    @Controller()
    class SignalController {
      @MessagePattern('slow', { timeoutMs: 20 }) slow(@Ctx() ctx: RapContext): Promise<void> {
        return this.#aborted('slow', ctx);
      }
      @MessagePattern('left') left(@Ctx() ctx: RapContext): Promise<void> {
        started.open();
        return this.#aborted('left', ctx);
      }
      #aborted(name: string, { signal }: RapContext): Promise<void> {
        return new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            aborted.push(name);
            resolve();
          });
        });
      }
    }
    const { client, port, server } = await scope.serve([SignalController]);

    expect(await rejection(client().call('slow'))).toMatchObject({
      status: 301,
      remoteName: 'RpcRunTimeError',
      message: 'Call slow timeout',
    });
    expect(aborted).toEqual(['slow']);
    const raw = await RawSocket.open(port);
    raw.send([101, 5, { target: '/default/left' }, null]);
    await started.opened;
    raw.destroy();
    await eventually('the second abort', () => aborted.length === 2);
    await eventually('no call left', () => server.stats().inFlight === 0);
  });
});

describe('a call that ended before its handler began', () => {
  it('frees its slot, and does not run what is left of the pipeline', async () => {
    const pass = new Gate<boolean>();
    let ran = false;
    @Controller()
    class LateController {
      @UseGuards({ canActivate: () => pass.opened })
      @UseInterceptors(around)
      @MessagePattern('late', { timeoutMs: 20 })
      async late(): Promise<void> {
        ran = true;
        await Promise.resolve();
      }
    }
    const { client, server } = await scope.serve([LateController]);

    expect(await rejection(client().call('late'))).toMatchObject({ message: 'Call slow timeout' });
    expect(server.stats().inFlight).toBe(1);
    pass.open(true);

    await eventually('the free slot', () => server.stats().inFlight === 0);
    expect(ran).toBe(false);
  });
});
