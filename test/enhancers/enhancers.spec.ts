import 'reflect-metadata';
import {
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
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR, APP_PIPE } from '@nestjs/core';
import { Ctx, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { map, Observable, tap, throwError } from 'rxjs';
import { AuthError, ParseError, RapContext } from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';

const scope = testScope();

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
