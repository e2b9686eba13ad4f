import 'reflect-metadata';
import {
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  Catch,
  Controller,
  createParamDecorator,
  type ExceptionFilter,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
  type PipeTransform,
  SetMetadata,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR, APP_PIPE, Reflector } from '@nestjs/core';
import { BaseRpcExceptionFilter, Ctx, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import {
  catchError,
  concatMap,
  lastValueFrom,
  map,
  Observable,
  of,
  tap,
  throwError,
  timeout,
  TimeoutError,
} from 'rxjs';
import {
  AuthError,
  CallTimeoutError,
  InvokeError,
  ParseError,
  RapContext,
  ServerError,
} from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';

const scope = testScope();

const wrap = (name: string): NestInterceptor => ({
  intercept: (_, next) => next.handle().pipe(map((value) => `${name}(${String(value)})`)),
});

describe('order of the pipeline', () => {
  it('preRequest hook, guard, interceptor, pipe, handler, interceptor', async () => {
    const trace: string[] = [];
    class Guard implements CanActivate {
      canActivate(context: ExecutionContext): boolean {
        trace.push(`guard ${context.getType()} ${context.getClass().name}.${context.getHandler().name}`);
        return true;
      }
    }
    class Around implements NestInterceptor {
      intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
        trace.push('before');
        return next.handle().pipe(tap(() => trace.push('after')));
      }
    }
    class Pipe implements PipeTransform {
      transform(value: unknown): unknown {
        trace.push('pipe');
        return value;
      }
    }
    @Controller()
    class OrderController {
      @UseGuards(Guard)
      @UseInterceptors(Around)
      @UsePipes(Pipe)
      @MessagePattern('order')
      order(@Payload() data: string): string {
        trace.push('handler');
        return data;
      }
    }
    const { client } = await scope.serve([OrderController], {
      prepare: (app) =>
        app.registerPreRequestHook((_, next) => {
          trace.push('hook');
          return next();
        }),
    });

    expect(await client().call('order', 'x')).toBe('x');

    expect(trace).toEqual(['hook', 'guard rpc OrderController.order', 'before', 'pipe', 'handler', 'after']);
  });

  it('preRequest hooks nest in their order, wrap the answer, and may refuse', async () => {
    const trace: string[] = [];
    @Controller()
    class HookedController {
      @MessagePattern('hooked') hooked(): string {
        trace.push('handler');
        return 'x';
      }
    }
    const { client } = await scope.serve([HookedController], {
      prepare: (app) =>
        app.registerPreRequestHook(
          (context, next) =>
            context.switchToRpc().getData<string | null>() === 'refuse'
              ? throwError(() => new RpcException('refused by the hook'))
              : next().pipe(map((value) => `1(${String(value)})`)),
          (_, next) => next().pipe(map((value) => `2(${String(value)})`)),
        ),
    });
    const rap = client();

    expect(await rap.call('hooked')).toBe('1(2(x))');
    expect(await rejection(rap.call('hooked', 'refuse'))).toMatchObject({ message: 'refused by the hook' });
    expect(trace).toEqual(['handler']);
  });

  it('a preRequest hook runs the handler in the async context it sets up', async () => {
    const { AsyncLocalStorage } = await import('node:async_hooks');
    const store = new AsyncLocalStorage<string>();
    @Controller()
    class StoreController {
      @MessagePattern('store') async get(): Promise<string | undefined> {
        await Promise.resolve();
        return store.getStore();
      }
    }
    const { client } = await scope.serve([StoreController], {
      prepare: (app) =>
        app.registerPreRequestHook((_, next) => {
          return new Observable((observer) => store.run('request 1', () => next().subscribe(observer)));
        }),
    });

    expect(await client().call('store')).toBe('request 1');
  });
});

describe('guards', () => {
  const refusals: [string, () => ReturnType<CanActivate['canActivate']>][] = [
    ['false', () => false],
    ['a promise of false', () => Promise.resolve(false)],
    ['an Observable of false', () => of(false)],
  ];
  it.each(refusals)('a guard that answers %s gives AuthError 401', async (_, refuse) => {
    let ran = false;
    class Refusing implements CanActivate {
      canActivate = refuse;
    }
    @UseGuards(Refusing)
    @Controller()
    class GuardedController {
      @MessagePattern('secret') secret(): void {
        ran = true;
      }
    }
    const { client } = await scope.serve([GuardedController]);

    const error = await rejection(client().call('secret'));

    expect(error).toBeInstanceOf(AuthError);
    expect(error).toBeInstanceOf(RpcException);
    expect(error).toMatchObject({ status: 401, code: 'ERR_RAP_AUTH', message: 'Forbidden resource' });
    expect(ran).toBe(false);
  });

  it('a guard that throws an error of its own keeps that error', async () => {
    class Throwing implements CanActivate {
      canActivate(): boolean {
        throw new AuthError('the token is over', { code: 'TOKEN_EXPIRED', details: { at: 1 } });
      }
    }
    @Controller()
    class GuardedController {
      @UseGuards(Throwing) @MessagePattern('secret') secret(): void {}
    }
    const { client } = await scope.serve([GuardedController]);

    const error = await rejection(client().call('secret'));

    expect(error).toBeInstanceOf(AuthError);
    expect(error).toMatchObject({ message: 'the token is over', code: 'TOKEN_EXPIRED', details: { at: 1 } });
  });

  it('a guard sees handler metadata, the data and the RapContext with the connection', async () => {
    class Roles implements CanActivate {
      constructor(@Inject(Reflector) private readonly reflector: Reflector) {}
      canActivate(context: ExecutionContext): boolean {
        const rpc = context.switchToRpc();
        const ctx = rpc.getContext<RapContext>();
        expect(ctx).toBeInstanceOf(RapContext);
        expect(context.getArgs()).toEqual([rpc.getData(), ctx]);
        const wanted = this.reflector.get<string>('role', context.getHandler());
        return ctx.metadata['role'] === wanted && rpc.getData<{ ok: boolean }>().ok;
      }
    }
    @Controller()
    class RolesController {
      @SetMetadata('role', 'admin') @UseGuards(Roles) @MessagePattern('admin') admin(): string {
        return 'in';
      }
    }
    const { client } = await scope.serve([RolesController]);

    expect(await client({ metadata: { role: 'admin' } }).call('admin', { ok: true })).toBe('in');
    await expect(client({ metadata: { role: 'user' } }).call('admin', { ok: true })).rejects.toThrow(
      AuthError,
    );
    await expect(client({ metadata: { role: 'admin' } }).call('admin', { ok: false })).rejects.toThrow(
      AuthError,
    );
  });

  it('the guards of application, controller and method all have a say, in this order', async () => {
    const asked: string[] = [];
    const guard = (name: string): CanActivate => ({
      canActivate: () => {
        asked.push(name);
        return name !== 'method';
      },
    });
    @UseGuards(guard('controller'))
    @Controller()
    class GuardedController {
      @MessagePattern('open') open(): string {
        return 'open';
      }
      @UseGuards(guard('method')) @MessagePattern('closed') closed(): void {}
    }
    const { client } = await scope.serve([GuardedController], {
      prepare: (app) => app.useGlobalGuards(guard('global')),
    });
    const rap = client();

    expect(await rap.call('open')).toBe('open');
    await expect(rap.call('closed')).rejects.toThrow(AuthError);
    expect(asked).toEqual(['global', 'controller', 'global', 'controller', 'method']);
  });
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

class DomainError extends Error {
  override name = 'DomainError';
}
const fail = (): never => {
  throw new DomainError('x');
};

const filterTo = (name: string): ExceptionFilter => {
  @Catch(DomainError)
  class To implements ExceptionFilter {
    catch(error: DomainError): Observable<never> {
      return throwError(() => ({ status: 'error', message: `${name}: ${error.message}` }));
    }
  }
  return new To();
};

describe('exception filters', () => {
  it('the filter of the method comes before that of the controller, and that before the global one', async () => {
    @UseFilters(filterTo('controller'))
    @Controller()
    class NearController {
      @UseFilters(filterTo('method')) @MessagePattern('method') method(): never {
        throw new DomainError('x');
      }
      @MessagePattern('controller') controller(): never {
        throw new DomainError('x');
      }
    }
    @Controller()
    class FarController {
      @MessagePattern('global') global(): never {
        throw new DomainError('x');
      }
    }
    const { client } = await scope.serve([NearController, FarController], {
      prepare: (app) => app.useGlobalFilters(filterTo('global')),
    });
    const rap = client();

    for (const name of ['method', 'controller', 'global']) {
      // oxlint-disable-next-line no-await-in-loop
      expect(await rejection(rap.call(name))).toMatchObject({ message: `${name}: x` });
    }
  });

  it('catches what guards, pipes, interceptors, promises and Observables fail with', async () => {
    @UseFilters(filterTo('caught'))
    @Controller()
    class FailingController {
      @UseGuards({ canActivate: fail }) @MessagePattern('guard') guard(): void {}
      @UsePipes({ transform: fail }) @MessagePattern('pipe') pipe(@Payload() data: unknown): unknown {
        return data;
      }
      @UseInterceptors({ intercept: fail }) @MessagePattern('interceptor') interceptor(): void {}
      @MessagePattern('promise') async promise(): Promise<never> {
        await Promise.resolve();
        return fail();
      }
      @MessagePattern('observable') observable(): Observable<never> {
        return throwError(() => new DomainError('x'));
      }
    }
    const { client } = await scope.serve([FailingController]);
    const rap = client();

    for (const name of ['guard', 'pipe', 'interceptor', 'promise', 'observable']) {
      // oxlint-disable-next-line no-await-in-loop
      expect([name, await rejection(rap.call(name, 1))]).toMatchObject([name, { message: 'caught: x' }]);
    }
  });

  it('gets the data and the RapContext', async () => {
    const seen: unknown[] = [];
    @Catch()
    class Looking implements ExceptionFilter {
      catch(_: unknown, host: ArgumentsHost): Observable<unknown> {
        const rpc = host.switchToRpc();
        seen.push(host.getType(), rpc.getData(), rpc.getContext<RapContext>().target);
        return of('filtered');
      }
    }
    @Controller()
    class BrokenController {
      @UseFilters(Looking) @MessagePattern('broken') broken(): never {
        throw new Error('x');
      }
    }
    const { client } = await scope.serve([BrokenController]);

    expect(await client().call('broken', { a: 1 })).toBe('filtered');
    expect(seen).toEqual(['rpc', { a: 1 }, '/default/broken']);
  });

  it('may be asynchronous', async () => {
    @Catch()
    class Slow implements ExceptionFilter {
      async catch(error: Error): Promise<Observable<never>> {
        await Promise.resolve();
        return throwError(() => new ParseError(`async: ${error.message}`));
      }
    }
    @Controller()
    class BrokenController {
      @UseFilters(Slow) @MessagePattern('broken') broken(): never {
        throw new Error('x');
      }
    }
    const { client } = await scope.serve([BrokenController]);

    const error = await rejection(client().call('broken'));

    expect(error).toBeInstanceOf(ParseError);
    expect(error).toMatchObject({ message: 'async: x' });
  });

  it('may hand on what RpcException.getError() gives, as the documentation of Nest shows', async () => {
    @Catch(RpcException)
    class Documented implements ExceptionFilter<RpcException> {
      catch(exception: RpcException): Observable<never> {
        return throwError(() => exception.getError());
      }
    }
    @UseFilters(Documented)
    @Controller()
    class BrokenController {
      @MessagePattern('text') text(): never {
        throw new RpcException('a text');
      }
      @MessagePattern('object') object(): never {
        throw new RpcException({ code: 7, message: 'an object' });
      }
      @MessagePattern('rap') rap(): never {
        throw new ParseError('a rap error', { details: { field: 'a' } });
      }
    }
    const { client } = await scope.serve([BrokenController]);
    const rap = client();

    expect(await rejection(rap.call('text'))).toMatchObject({ status: 301, message: 'a text' });
    expect(await rejection(rap.call('object'))).toMatchObject({
      message: 'an object',
      details: { code: 7, message: 'an object' },
    });
    expect(await rejection(rap.call('rap'))).toMatchObject({
      name: 'ParseError',
      message: 'a rap error',
      details: { field: 'a' },
    });
  });

  it('may hand on the RpcException itself, and nothing of it gets lost', async () => {
    @Catch(RpcException)
    class Rethrow implements ExceptionFilter<RpcException> {
      catch(exception: RpcException): Observable<never> {
        return throwError(() => exception);
      }
    }
    @UseFilters(Rethrow)
    @Controller()
    class BrokenController {
      @MessagePattern('object') object(): never {
        throw new RpcException({ code: 7, message: 'an object' });
      }
    }
    const { client } = await scope.serve([BrokenController]);

    expect(await rejection(client().call('object'))).toMatchObject({
      status: 301,
      remoteName: 'RpcException',
      message: 'an object',
      details: { code: 7, message: 'an object' },
    });
  });

  it('may extend BaseRpcExceptionFilter', async () => {
    @Catch()
    class AllFilter extends BaseRpcExceptionFilter {
      override catch(exception: unknown, host: ArgumentsHost): Observable<unknown> {
        return super.catch(exception, host);
      }
    }
    @UseFilters(AllFilter)
    @Controller()
    class BrokenController {
      @MessagePattern('known') known(): never {
        throw new RpcException('known');
      }
      @MessagePattern('unknown') unknown(): never {
        throw new Error('secret');
      }
    }
    const { client } = await scope.serve([BrokenController]);
    const rap = client();

    expect(await rejection(rap.call('known'))).toMatchObject({ message: 'known' });
    const error = await rejection(rap.call('unknown'));
    expect(error).toBeInstanceOf(ServerError);
    expect(error).toMatchObject({ message: 'Internal server error' });
  });

  it('a filter that fails is masked and logged: its error is for nobody outside', async () => {
    @Catch()
    class Broken implements ExceptionFilter {
      catch(): never {
        throw new TypeError('secret of the filter');
      }
    }
    @Controller()
    class BrokenController {
      @UseFilters(Broken) @MessagePattern('broken') broken(): never {
        throw new Error('x');
      }
    }
    const { client, log } = await scope.serve([BrokenController]);

    const error = await rejection(client().call('broken'));

    expect(error).toMatchObject({ status: 500, message: 'Internal server error' });
    expect(log.lines.join('\n')).toContain('secret of the filter');
  });
});

describe('global enhancers as providers', () => {
  it('APP_GUARD, APP_INTERCEPTOR, APP_PIPE and APP_FILTER work, with injection', async () => {
    @Injectable()
    class Policy {
      readonly allowed = 'friend';
    }
    @Injectable()
    class PolicyGuard implements CanActivate {
      constructor(@Inject(Policy) private readonly policy: Policy) {}
      canActivate(context: ExecutionContext): boolean {
        return context.switchToRpc().getContext<RapContext>().metadata['who'] === this.policy.allowed;
      }
    }
    @Injectable()
    class Wrap implements NestInterceptor {
      constructor(@Inject(Policy) private readonly policy: Policy) {}
      intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
        return next.handle().pipe(map((value) => ({ for: this.policy.allowed, value })));
      }
    }
    @Injectable()
    class Upper implements PipeTransform {
      transform(value: unknown): unknown {
        if (value === 'bad') throw new RangeError('bad value');
        return String(value).toUpperCase();
      }
    }
    @Catch(RangeError)
    class RangeFilter implements ExceptionFilter {
      catch(error: RangeError): Observable<never> {
        return throwError(() => new ParseError(error.message));
      }
    }
    @Controller()
    class EchoController {
      @MessagePattern('echo') echo(@Payload() text: string): string {
        return text;
      }
    }
    const { client } = await scope.serve([EchoController], {
      providers: [
        Policy,
        { provide: APP_GUARD, useClass: PolicyGuard },
        { provide: APP_INTERCEPTOR, useClass: Wrap },
        { provide: APP_PIPE, useClass: Upper },
        { provide: APP_FILTER, useClass: RangeFilter },
      ],
    });
    const friend = client({ metadata: { who: 'friend' } });

    expect(await friend.call('echo', 'x')).toEqual({ for: 'friend', value: 'X' });
    await expect(friend.call('echo', 'bad')).rejects.toThrow(ParseError);
    await expect(client().call('echo', 'x')).rejects.toThrow(AuthError);
  });
});

describe('parameters of a handler', () => {
  const Who = createParamDecorator((key: string, context: ExecutionContext): unknown => {
    return context.switchToRpc().getContext<RapContext>().metadata[key];
  });

  @Controller()
  class ParametersController {
    @MessagePattern('ctx') ctx(@Ctx() ctx: RapContext): unknown {
      return ctx instanceof RapContext && ctx.target;
    }
    @MessagePattern('both') both(@Ctx() ctx: RapContext, @Payload() data: { a: number }): unknown {
      return [ctx.name, data.a];
    }
    @MessagePattern('prop') prop(@Payload('a') a: number, @Payload('b') b: number | undefined): unknown {
      return [a, b === undefined];
    }
    @MessagePattern('bare') bare(data: unknown): unknown {
      return data;
    }
    @MessagePattern('custom') custom(@Who('name') name: string, @Payload() data: unknown): unknown {
      return [name, data];
    }
    @MessagePattern('piped') piped(
      @Who('name', { transform: (value: string) => value.toUpperCase() }) name: string,
      @Payload('a', { transform: (value: number) => value * 2 }) a: number,
    ): unknown {
      return [name, a];
    }
  }

  const calls: [string, unknown, unknown][] = [
    ['ctx', null, '/default/ctx'],
    ['both', { a: 1 }, ['both', 1]],
    ['prop', { a: 1 }, [1, true]],
    ['prop', null, [undefined, true]],
    ['bare', { a: 1 }, { a: 1 }],
    ['custom', [1], ['ann', [1]]],
    ['piped', { a: 2 }, ['ANN', 4]],
  ];
  it.each(calls)('%s with %j', async (name, data, expected) => {
    const { client } = await scope.serve([ParametersController]);
    expect(await client({ metadata: { name: 'ann' } }).call(name, data)).toEqual(expected);
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
