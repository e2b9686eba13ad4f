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
  type PipeTransform,
  Scope,
} from '@nestjs/common';
import {
  APP_FILTER,
  APP_GUARD,
  APP_INTERCEPTOR,
  APP_PIPE,
  type ContextId,
  ContextIdFactory,
  type ContextIdStrategy,
  type HostComponentInfo,
  REQUEST,
} from '@nestjs/core';
import { CONTEXT, Ctx, MessagePattern, Payload, type RequestContext } from '@nestjs/microservices';
import { map, type Observable, throwError } from 'rxjs';
import { AuthError, ParseError, RapContext, ServerError } from '../../lib/index.js';
import { eventually, Gate, rejection, testScope, sorted } from '../helpers/async.js';
import { EventPattern } from '../helpers/event-pattern.js';

const scope = testScope();

it('a request-scoped controller is made for each call', async () => {
  let made = 0;
  @Controller({ scope: Scope.REQUEST })
  class CountController {
    readonly number = (made += 1);
    #calls = 0;
    @MessagePattern('count') count(): number[] {
      this.#calls += 1;
      return [this.number, this.#calls];
    }
  }
  const { client } = await scope.serve([CountController]);
  const rap = client();
  made = 0;

  expect(await rap.call('count')).toEqual([1, 1]);
  expect(await rap.call('count')).toEqual([2, 1]);
  expect(made).toBe(2);
});

it('CONTEXT and REQUEST are the request context with pattern, data and RapContext', async () => {
  @Controller({ scope: Scope.REQUEST })
  class ContextController {
    constructor(
      @Inject(CONTEXT) private readonly context: RequestContext<unknown, RapContext>,
      @Inject(REQUEST) private readonly request: RequestContext,
    ) {}
    @MessagePattern({ cmd: 'context' }) get(@Ctx() ctx: RapContext): unknown {
      return {
        host: this.context.constructor.name,
        same: this.context === this.request && this.context.getContext() === ctx,
        pattern: this.context.getPattern(),
        data: this.context.getData(),
        who: this.context.getContext().metadata['who'],
      };
    }
  }
  const { client } = await scope.serve([ContextController]);

  expect(await client({ metadata: { who: 'ann' } }).call({ cmd: 'context' }, { a: 1 })).toEqual({
    host: 'RequestContextHost',
    same: true,
    pattern: { cmd: 'context' },
    data: { a: 1 },
    who: 'ann',
  });
});

it('a request-scoped provider deep in the tree gets the call, and calls at once do not mix', async () => {
  @Injectable({ scope: Scope.REQUEST })
  class Caller {
    constructor(@Inject(CONTEXT) readonly context: RequestContext<{ id: number }, RapContext>) {}
  }
  @Injectable()
  class Service {
    constructor(@Inject(Caller) private readonly caller: Caller) {}
    id(): number {
      return this.caller.context.getData().id;
    }
  }
  const all = new Gate();
  let arrived = 0;
  @Controller()
  class DeepController {
    constructor(@Inject(Service) private readonly service: Service) {}
    @MessagePattern('id') async id(): Promise<number> {
      if ((arrived += 1) === 20) all.open();
      await all.opened;
      return this.service.id();
    }
  }
  const { client } = await scope.serve([DeepController], { providers: [Caller, Service] });
  const rap = client();
  const ids = Array.from({ length: 20 }, (_, id) => id);

  expect(await Promise.all(ids.map((id) => rap.call('id', { id })))).toEqual(ids);
});

it('an error of a request-scoped provider is masked, logged, and leaves nothing behind', async () => {
  @Injectable({ scope: Scope.REQUEST })
  class Failing {
    constructor(@Inject(CONTEXT) context: RequestContext<string>) {
      if (context.getData() === 'fail') throw new TypeError('secret of the provider');
    }
  }
  @Controller()
  class FailingController {
    constructor(@Inject(Failing) readonly failing: Failing) {}
    @MessagePattern('made') made(): string {
      return 'made';
    }
  }
  const { client, server, log } = await scope.serve([FailingController], { providers: [Failing] });
  const rap = client();

  const error = await rejection(rap.call('made', 'fail'));

  expect(error).toBeInstanceOf(ServerError);
  expect(error).toMatchObject({ message: 'Internal server error' });
  expect(log.lines.join('\n')).toContain('secret of the provider');
  expect(await rap.call('made', 'ok')).toBe('made');
  expect(server.stats().inFlight).toBe(0);
});

it('request-scoped global enhancers see the call', async () => {
  @Injectable({ scope: Scope.REQUEST })
  class Guard implements CanActivate {
    constructor(@Inject(CONTEXT) private readonly context: RequestContext<{ ok: boolean }>) {}
    canActivate(): boolean {
      return this.context.getData().ok;
    }
  }
  @Injectable({ scope: Scope.REQUEST })
  class Stamp implements NestInterceptor {
    constructor(@Inject(CONTEXT) private readonly context: RequestContext<unknown, RapContext>) {}
    intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
      return next.handle().pipe(map((value) => [this.context.getContext().name, value]));
    }
  }
  @Injectable({ scope: Scope.REQUEST })
  class Pick implements PipeTransform {
    transform(data: { value: unknown }): unknown {
      if (data.value === 'bad') throw new RangeError('bad');
      return data.value;
    }
  }
  @Catch(RangeError)
  @Injectable({ scope: Scope.REQUEST })
  class Filter implements ExceptionFilter {
    constructor(@Inject(CONTEXT) private readonly context: RequestContext) {}
    catch(error: RangeError, host: ArgumentsHost): Observable<never> {
      const same = this.context.getContext() === host.switchToRpc().getContext();
      return throwError(() => new ParseError(`${error.message} ${same}`));
    }
  }
  @Controller()
  class EchoController {
    @MessagePattern('echo') echo(@Payload() data: unknown): unknown {
      return data;
    }
  }
  const { client } = await scope.serve([EchoController], {
    providers: [
      { provide: APP_GUARD, useClass: Guard, scope: Scope.REQUEST },
      { provide: APP_INTERCEPTOR, useClass: Stamp, scope: Scope.REQUEST },
      { provide: APP_PIPE, useClass: Pick, scope: Scope.REQUEST },
      { provide: APP_FILTER, useClass: Filter, scope: Scope.REQUEST },
    ],
  });
  const rap = client();

  expect(await rap.call('echo', { ok: true, value: 7 })).toEqual(['echo', 7]);
  await expect(rap.call('echo', { ok: false })).rejects.toThrow(AuthError);
  const error = await rejection(rap.call('echo', { ok: true, value: 'bad' }));
  expect(error).toBeInstanceOf(ParseError);
  expect(error).toMatchObject({ message: 'bad true' });
});

it('request-scoped event handlers of one pattern run all, each with the event', async () => {
  const seen: unknown[] = [];
  class Base {
    constructor(@Inject(CONTEXT) readonly context: RequestContext) {}
  }
  @Controller({ scope: Scope.REQUEST })
  class FirstController extends Base {
    @EventPattern('created') created(@Payload() data: unknown): void {
      seen.push(['first', data, this.context.getData()]);
    }
  }
  @Controller({ scope: Scope.REQUEST })
  class SecondController extends Base {
    @EventPattern('created') created(@Payload() data: unknown, @Ctx() ctx: RapContext): void {
      seen.push(['second', data, this.context.getData(), ctx.name]);
    }
  }
  @Controller()
  class ThirdController {
    @EventPattern('created') created(@Payload() data: unknown): void {
      seen.push(['third', data]);
    }
  }
  const { client } = await scope.serve([FirstController, SecondController, ThirdController]);

  client().emit('created', 1);

  await eventually('three handlers', () => seen.length === 3);
  expect(sorted(seen)).toEqual([
    ['first', 1, 1],
    ['second', 1, 1, 'created'],
    ['third', 1],
  ]);
});

it('durable providers live once for each tenant', async () => {
  const trees = new Map<string, ContextId>();
  const strategy: ContextIdStrategy<RequestContext<unknown, RapContext>> = {
    attach(contextId, request) {
      const tenant = String(request.getContext().metadata['tenant']);
      const tree = trees.get(tenant) ?? ContextIdFactory.create();
      trees.set(tenant, tree);
      return {
        resolve: (info: HostComponentInfo) => (info.isTreeDurable ? tree : contextId),
        payload: { tenant },
      };
    },
  };
  ContextIdFactory.apply(strategy);
  scope.defer(() => ContextIdFactory.apply(undefined as never));
  let made = 0;
  @Injectable({ scope: Scope.REQUEST, durable: true })
  class Tenant {
    readonly number = (made += 1);
    constructor(@Inject(CONTEXT) readonly payload: { tenant: string }) {}
  }
  @Controller({ scope: Scope.REQUEST, durable: true })
  class TenantController {
    constructor(@Inject(Tenant) private readonly tenant: Tenant) {}
    @MessagePattern('tenant') get(): unknown {
      return [this.tenant.payload.tenant, this.tenant.number];
    }
  }
  const { client } = await scope.serve([TenantController], { providers: [Tenant] });
  const one = client({ metadata: { tenant: 'one' } });
  const two = client({ metadata: { tenant: 'two' } });

  const first = await one.call<[string, number]>('tenant');
  const second = await two.call<[string, number]>('tenant');

  expect(first[0]).toBe('one');
  expect(second[0]).toBe('two');
  expect(second[1]).not.toBe(first[1]);
  expect(await one.call('tenant')).toEqual(first);
  expect(await two.call('tenant')).toEqual(second);
});
