import 'reflect-metadata';
import {
  type CallHandler,
  Controller,
  type ExecutionContext,
  type NestInterceptor,
  UseInterceptors,
} from '@nestjs/common';
import { MessagePattern, RpcException } from '@nestjs/microservices';
import {
  catchError,
  concatMap,
  lastValueFrom,
  map,
  Observable,
  of,
  throwError,
  timeout,
  TimeoutError,
} from 'rxjs';
import { CallTimeoutError, InvokeError } from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';

const scope = testScope();

const wrap = (name: string): NestInterceptor => ({
  intercept: (_, next) => next.handle().pipe(map((value) => `${name}(${String(value)})`)),
});

describe('interceptors', () => {
  it('transform the result, also asynchronously and in several layers', async () => {
    class Sync implements NestInterceptor {
      intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
        return next.handle().pipe(map((value) => `sync(${String(value)})`));
      }
    }
    class Async implements NestInterceptor {
      async intercept(_: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
        await Promise.resolve();
        return next
          .handle()
          .pipe(concatMap(async (value) => `async(${await Promise.resolve(String(value))})`));
      }
    }
    class Settle implements NestInterceptor {
      async intercept(_: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
        return of(`settled(${String(await lastValueFrom(next.handle()))})`);
      }
    }
    @Controller()
    class LayersController {
      @UseInterceptors(Settle, Async, Sync) @MessagePattern('layers') layers(): string {
        return 'x';
      }
    }
    const { client } = await scope.serve([LayersController]);

    expect(await client().call('layers')).toBe('settled(async(sync(x)))');
  });

  it('may answer from a cache: the handler does not run', async () => {
    let ran = 0;
    class Cache implements NestInterceptor {
      intercept(): Observable<unknown> {
        return of('cached');
      }
    }
    @Controller()
    class CachedController {
      @UseInterceptors(Cache) @MessagePattern('cached') cached(): string {
        ran += 1;
        return 'fresh';
      }
    }
    const { client } = await scope.serve([CachedController]);

    expect(await client().call('cached')).toBe('cached');
    expect(ran).toBe(0);
  });

  it('a timeout interceptor ends a slow handler, and its error may be mapped', async () => {
    class Timeout implements NestInterceptor {
      intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
        return next.handle().pipe(
          timeout(20),
          catchError((error: unknown) =>
            throwError(() => (error instanceof TimeoutError ? new RpcException('too slow') : error)),
          ),
        );
      }
    }
    @Controller()
    class SlowController {
      @UseInterceptors(Timeout) @MessagePattern('slow') slow(): Promise<void> {
        return new Promise(() => {});
      }
      @UseInterceptors(Timeout) @MessagePattern('quick') quick(): string {
        return 'quick';
      }
    }
    const { client, server } = await scope.serve([SlowController]);
    const rap = client();

    expect(await rejection(rap.call('slow'))).toMatchObject({ status: 301, message: 'too slow' });
    expect(await rap.call('quick')).toBe('quick');
    expect(server.stats().inFlight).toBe(0);
  });

  it('sees an error of the handler and may turn it into a value', async () => {
    const seen: unknown[] = [];
    class Recover implements NestInterceptor {
      intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
        return next.handle().pipe(
          catchError((error: unknown) => {
            seen.push(error);
            return of('recovered');
          }),
        );
      }
    }
    @Controller()
    class BrokenController {
      @UseInterceptors(Recover) @MessagePattern('broken') broken(): Promise<never> {
        return Promise.reject(new TypeError('inner'));
      }
    }
    const { client } = await scope.serve([BrokenController]);

    expect(await client().call('broken')).toBe('recovered');
    expect(seen).toEqual([new TypeError('inner')]);
  });

  it('global ones wrap those of controller and method', async () => {
    @UseInterceptors(wrap('controller'))
    @Controller()
    class WrappedController {
      @UseInterceptors(wrap('method')) @MessagePattern('wrapped') wrapped(): string {
        return 'x';
      }
    }
    const { client } = await scope.serve([WrappedController], {
      prepare: (app) => app.useGlobalInterceptors(wrap('global')),
    });

    expect(await client().call('wrapped')).toBe('global(controller(method(x)))');
  });
});

it('errors of rap thrown below a timeout interceptor stay themselves', async () => {
  class Timeout implements NestInterceptor {
    intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
      return next.handle().pipe(timeout(5000));
    }
  }
  @UseInterceptors(Timeout)
  @Controller()
  class BrokenController {
    @MessagePattern('broken') broken(): never {
      throw new InvokeError('no', { remoteName: 'ValueError', details: [1] });
    }
  }
  const { client } = await scope.serve([BrokenController]);

  const error = await rejection(client().call('broken'));

  expect(error).toBeInstanceOf(InvokeError);
  expect(error).not.toBeInstanceOf(CallTimeoutError);
  expect(error).toMatchObject({ remoteName: 'ValueError', message: 'no', details: [1] });
});
