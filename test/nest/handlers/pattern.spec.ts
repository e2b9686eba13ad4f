import 'reflect-metadata';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Controller,
  SetMetadata,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  type CallHandler,
  type ExecutionContext,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { Ctx, MessagePattern, Payload, Transport } from '@nestjs/microservices';
import { firstValueFrom, map, of } from 'rxjs';
import {
  AuthError,
  FuncNotFoundError,
  ParseError,
  RAP_TRANSPORT,
  type RapAuthorizeRequest,
  RapClient,
  RapContext,
  RapGroup,
  RegisteredError,
  type RapPatternExtras,
  RapServer,
} from '../../../lib/index.js';
import { eventually, rejection, testScope } from '../../helpers/async.js';
import { EventPattern } from '../../helpers/event-pattern.js';
import { REMOTE_CALLERS } from '../../helpers/remote-caller.js';

const scope = testScope();
const where = (ctx: RapContext): string => ctx.target;
const deep = (levels: number): unknown => (levels === 0 ? 'end' : { deeper: deep(levels - 1) });

describe('patterns', () => {
  @Controller()
  class PatternController {
    @MessagePattern('text') text(@Ctx() ctx: RapContext): unknown {
      return [ctx.target, ctx.group, ctx.name, ctx.getPattern()];
    }
    @MessagePattern('/math/slash') slash(@Ctx() ctx: RapContext): unknown {
      return [ctx.target, ctx.group, ctx.name, ctx.getPattern()];
    }
    @MessagePattern({ group: 'math', name: 'named' }) named(@Ctx() ctx: RapContext): unknown {
      return [ctx.target, ctx.group, ctx.name, ctx.getPattern()];
    }
    @MessagePattern({ v: 1, cmd: 'object' }) object(@Ctx() ctx: RapContext): unknown {
      return [ctx.target, ctx.group, ctx.name, ctx.getPattern()];
    }
    @MessagePattern(404) number(@Ctx() ctx: RapContext): unknown {
      return [ctx.target, ctx.group, ctx.name, ctx.getPattern()];
    }
    @MessagePattern('a.b.*') dotted(@Ctx() ctx: RapContext): unknown {
      return [ctx.target, ctx.group, ctx.name, ctx.getPattern()];
    }
    @MessagePattern('grüße/日本') text2(@Ctx() ctx: RapContext): unknown {
      return [ctx.target, ctx.group, ctx.name, ctx.getPattern()];
    }
    @MessagePattern('/math/a/b') nested(@Ctx() ctx: RapContext): unknown {
      return [ctx.target, ctx.group, ctx.name, ctx.getPattern()];
    }
    @MessagePattern({ deep: deep(3), list: [1, 'x'] }) deep(@Ctx() ctx: RapContext): unknown {
      return [ctx.target, ctx.group];
    }
    @MessagePattern({ name: 'only a name' }) onlyName(@Ctx() ctx: RapContext): unknown {
      return [ctx.target];
    }
    @MessagePattern(['first', { cmd: 'second' }]) several(@Ctx() ctx: RapContext): unknown {
      return ctx.target;
    }
  }

  const object = '{"cmd":"object","v":1}';
  const named = '{"group":"math","name":"named"}';
  const patterns: [unknown, unknown][] = [
    ['text', ['/default/text', 'default', 'text', 'text']],
    ['/default/text', ['/default/text', 'default', 'text', 'text']],
    ['/math/slash', ['/math/slash', 'math', 'slash', '/math/slash']],
    [{ group: 'math', name: 'slash' }, ['/math/slash', 'math', 'slash', '/math/slash']],
    [{ group: 'math', name: 'named' }, ['/math/named', 'math', 'named', named]],
    [{ name: 'named', group: 'math' }, ['/math/named', 'math', 'named', named]],
    ['/math/named', ['/math/named', 'math', 'named', named]],
    [{ cmd: 'object', v: 1 }, [`/default/${object}`, 'default', object, object]],
    [{ v: 1, cmd: 'object' }, [`/default/${object}`, 'default', object, object]],
    [404, ['/default/404', 'default', '404', '404']],
    ['404', ['/default/404', 'default', '404', '404']],
    ['a.b.*', ['/default/a.b.*', 'default', 'a.b.*', 'a.b.*']],
    ['grüße/日本', ['/default/grüße/日本', 'default', 'grüße/日本', 'grüße/日本']],
    ['/math/a/b', ['/math/a/b', 'math', 'a/b', '/math/a/b']],
    [{ name: 'only a name' }, ['/default/{"name":"only a name"}']],
    ['first', '/default/first'],
    [{ cmd: 'second' }, '/default/{"cmd":"second"}'],
  ];
  it.each(patterns)('%j reaches its handler, with call and send', async (pattern, expected) => {
    const { client } = await scope.serve([PatternController]);
    const rap = client();

    expect(await rap.call(pattern)).toEqual(expected);
    expect(await firstValueFrom(rap.send(pattern, {}))).toEqual(expected);
    expect(await rap.call(pattern)).toEqual(expected);
  });

  it('a nested object reaches its handler', async () => {
    const { client } = await scope.serve([PatternController]);
    const [target, group] = await client().call<string[]>({ list: [1, 'x'], deep: deep(3) });
    expect(target).toContain('"deeper"');
    expect(group).toBe('default');
  });

  it('objects that only look alike do not share a target', async () => {
    const { client } = await scope.serve([PatternController]);
    const rap = client();

    expect(await rap.call({ group: 'math', name: 'named' })).toContain('/math/named');
    expect(await rejection(rap.call({ group: 'math', name: 'named', v: 1 }))).toBeInstanceOf(
      FuncNotFoundError,
    );
    expect(await rejection(rap.call({ group: 'maths', name: 'named' }))).toBeInstanceOf(FuncNotFoundError);
    expect(await rejection(rap.call({ cmd: 'object', v: '1' }))).toBeInstanceOf(FuncNotFoundError);
  });

  it.each([[undefined], [null]])('a call without a pattern (%s) fails before it is sent', async (pattern) => {
    const { client, server } = await scope.serve([PatternController]);
    const rap = client();

    expect(await rejection(rap.call(pattern))).toBeInstanceOf(ParseError);
    expect(await rejection(firstValueFrom(rap.send(pattern, {})))).toBeInstanceOf(ParseError);
    expect(server.stats().connections).toBe(0);
  });

  it.each([[''], [{ group: 'a/b', name: 'c' }], ['x'.repeat(300)], [Symbol('x')], [() => 'x']])(
    'the invalid pattern %j gives RegisteredError',
    async (pattern) => {
      const { client } = await scope.serve([PatternController]);
      const rap = client();

      expect(await rejection(rap.call(pattern))).toBeInstanceOf(RegisteredError);
      expect(await rejection(firstValueFrom(rap.send(pattern, {})))).toBeInstanceOf(RegisteredError);
    },
  );

  it('an unknown target gives FuncNotFoundError, and the log a hint', async () => {
    const { client, log } = await scope.serve([PatternController]);

    const error = await rejection(client().call('texd'));

    expect(error).toBeInstanceOf(FuncNotFoundError);
    expect(error).toMatchObject({
      status: 404,
      code: 'ERR_RAP_FUNC_NOT_FOUND',
      message: 'Not found func. name: texd, group: default',
    });
    expect(log.lines.join('\n')).toContain('did they mean /default/text?');
  });

  it('two request handlers for one target: listen rejects and names both', async () => {
    @RapGroup('math')
    @Controller()
    class OneController {
      @MessagePattern('sum') sum(): void {}
    }
    @Controller()
    class OtherController {
      @MessagePattern('/math/sum') add(): void {}
    }

    const error = await rejection(scope.serve([OneController, OtherController]));

    expect(error).toBeInstanceOf(RegisteredError);
    expect(error.message).toContain('/math/sum');
    expect(error.message).toContain('OneController.sum');
    expect(error.message).toContain('pattern "/math/sum"');
  });
});

describe('@RapGroup', () => {
  @RapGroup('math')
  @Controller()
  class MathController {
    @MessagePattern('sum') sum(@Ctx() ctx: RapContext): string {
      return where(ctx);
    }
    @MessagePattern({ cmd: 'sum' }) object(@Ctx() ctx: RapContext): string {
      return where(ctx);
    }
    @MessagePattern('own', { group: 'own' }) own(@Ctx() ctx: RapContext): string {
      return where(ctx);
    }
    @MessagePattern('/path/sum') path(@Ctx() ctx: RapContext): string {
      return where(ctx);
    }
    @EventPattern('changed') changed(@Payload() data: unknown, @Ctx() ctx: RapContext): void {
      events.push([data, ctx.target]);
    }
    helper(): void {}
  }
  const events: unknown[] = [];

  it('is the group of all patterns that name none', async () => {
    const { client } = await scope.serve([MathController]);
    const rap = client();

    expect(await rap.call('/math/sum')).toBe('/math/sum');
    expect(await rap.call({ group: 'math', name: '{"cmd":"sum"}' })).toBe('/math/{"cmd":"sum"}');
    expect(await rap.call('/own/own')).toBe('/own/own');
    expect(await rap.call('/path/sum')).toBe('/path/sum');
    expect(await rejection(rap.call('sum'))).toBeInstanceOf(FuncNotFoundError);
    rap.emit('/math/changed', 1);
    await eventually('the event', () => events.length);
    expect(events).toEqual([[1, '/math/changed']]);
  });

  class CrudController {
    readonly kind: string = 'base';
    @UseGuards({
      canActivate: (context: ExecutionContext) => context.switchToRpc().getData<unknown>() !== 'bad',
    })
    @UseInterceptors({
      intercept: (context: ExecutionContext, next: CallHandler) =>
        next.handle().pipe(map((value) => [new Reflector().get<string>('tag', context.getHandler()), value])),
    })
    @UsePipes({
      transform: (value: unknown, { type }) => (type === 'body' ? `piped ${String(value)}` : value),
    })
    @SetMetadata('tag', 'tagged')
    @MessagePattern('find')
    find(@Payload() id: string, @Ctx() ctx: RapContext): string {
      return `${this.kind} ${id} ${ctx.target}`;
    }
    @UseFilters({ catch: () => of('filtered') })
    @MessagePattern('fail')
    fail(): never {
      throw new Error('x');
    }
    @MessagePattern('overridden') overridden(): string {
      return 'base';
    }
  }

  it('holds for inherited handlers too, with guards, pipes, interceptors, filters and metadata', async () => {
    @RapGroup('users')
    @Controller()
    class UsersController extends CrudController {
      override readonly kind: string = 'user';
    }
    @RapGroup('orders')
    @Controller()
    class OrdersController extends CrudController {
      override readonly kind: string = 'order';
      @MessagePattern('overridden') override overridden(): string {
        return 'order';
      }
    }
    @Controller()
    class PlainController extends CrudController {}
    const { client } = await scope.serve([UsersController, OrdersController, PlainController]);
    const rap = client();

    expect(await rap.call('/users/find', 1)).toEqual(['tagged', 'user piped 1 /users/find']);
    expect(await rap.call('/orders/find', 1)).toEqual(['tagged', 'order piped 1 /orders/find']);
    expect(await rap.call('find', 1)).toEqual(['tagged', 'base piped 1 /default/find']);
    expect(await rejection(rap.call('/users/find', 'bad'))).toBeInstanceOf(AuthError);
    expect(await rap.call('/users/fail')).toBe('filtered');
    expect(await rap.call('/users/overridden')).toBe('base');
    expect(await rap.call('/orders/overridden')).toBe('order');
  });

  it('of a subclass comes before that of its base class', async () => {
    @RapGroup('base')
    @Controller()
    class BaseController {
      @MessagePattern('find') find(@Ctx() ctx: RapContext): string {
        return where(ctx);
      }
      @MessagePattern('own', { group: 'own' }) own(): string {
        return 'own';
      }
    }
    @RapGroup('sub')
    @Controller()
    class SubController extends BaseController {
      @MessagePattern('own', { group: 'own sub' }) override own(): string {
        return 'own sub';
      }
    }
    const { client } = await scope.serve([BaseController, SubController]);
    const rap = client();

    expect(await rap.call('/base/find')).toBe('/base/find');
    expect(await rap.call('/sub/find')).toBe('/sub/find');
    expect(await rap.call('/own sub/own')).toBe('own sub');
  });

  it('works below other class decorators and for request-scoped controllers', async () => {
    const { Scope } = await import('@nestjs/common');
    @Controller({ scope: Scope.REQUEST })
    @RapGroup('scoped')
    class ScopedController {
      @MessagePattern('sum') sum(@Ctx() ctx: RapContext): string {
        return where(ctx);
      }
    }
    const { client } = await scope.serve([ScopedController]);
    expect(await client().call('/scoped/sum')).toBe('/scoped/sum');
  });
});

describe('extras on a plain @MessagePattern', () => {
  @Controller()
  class ExtrasController {
    @MessagePattern('grouped', { group: 'math' }) grouped(): string {
      return 'grouped';
    }
    @MessagePattern('private', { private: true }) private(): string {
      return 'private';
    }
    @MessagePattern('short', { timeoutMs: 20 }) short(): Promise<never> {
      return new Promise(() => {});
    }
    @MessagePattern('tagged', RAP_TRANSPORT, { group: 'math' }) tagged(): string {
      return 'tagged';
    }
  }

  it('group', async () => {
    const { client } = await scope.serve([ExtrasController]);
    const rap = client();

    expect(await rap.call('/math/grouped')).toBe('grouped');
    expect(await rap.call('/math/tagged')).toBe('tagged');
    expect(await rejection(rap.call('grouped'))).toBeInstanceOf(FuncNotFoundError);
  });

  it('private: a caller on this machine finds the function', async () => {
    const { client } = await scope.serve([ExtrasController]);
    expect(await client().call('private')).toBe('private');
  });

  it.each(REMOTE_CALLERS)('private: for a caller from %s it does not exist', async (_, hostOf) => {
    const { port, server } = await scope.serve([ExtrasController], { host: '0.0.0.0' });
    const rap = new RapClient({ host: hostOf(server), port });
    scope.defer(() => rap.close());

    const hidden = await rejection(rap.call('private'));
    const missing = await rejection(rap.call('privatE'));

    expect(hidden).toBeInstanceOf(FuncNotFoundError);
    expect(hidden.message.toLowerCase()).toBe(missing.message.toLowerCase());
    expect(await rap.call('/math/grouped')).toBe('grouped');
    rap.close();
  });

  it('private, trustLoopback false: a caller over loopback is not known to be on this machine', async () => {
    const { client } = await scope.serve([ExtrasController], { trustLoopback: false });
    const rap = client();

    expect(await rejection(rap.call('private'))).toBeInstanceOf(FuncNotFoundError);
    expect(await rejection(rap.call('/registry/list'))).toBeInstanceOf(FuncNotFoundError);
    expect(await rap.call('/math/grouped')).toBe('grouped');
  });

  it('private, trustLoopback false: a caller over a Unix socket is', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'rap-'));
    scope.defer(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'socket');
    await scope.serve([ExtrasController], { path, trustLoopback: false });
    const rap = new RapClient({ path });
    scope.defer(() => rap.close());

    expect(await rap.call('private')).toBe('private');
  });

  it('trustLoopback is what authorize hears, and is refused if it is no boolean', async () => {
    const asked: boolean[] = [];
    const authorize = ({ isLocal }: RapAuthorizeRequest): boolean => asked.push(isLocal) > 0;
    for (const trustLoopback of [true, undefined, false]) {
      const { client } = await scope.serve([ExtrasController], { trustLoopback, authorize });
      await client().call('private');
    }

    expect(asked).toEqual([true, true, false]);
    expect(() => new RapServer({ trustLoopback: 'no' as never })).toThrow(
      new RangeError("trustLoopback must be true or false, got 'no'"),
    );
  });

  it('timeoutMs', async () => {
    const { client } = await scope.serve([ExtrasController]);
    expect(await rejection(client().call('short'))).toMatchObject({
      status: 301,
      remoteName: 'RpcRunTimeError',
    });
  });

  it('arrive as extras of the handler, with those of other decorators', async () => {
    const { server } = await scope.serve([ExtrasController]);
    expect(server.getHandlerByPattern('/math/grouped')?.extras).toEqual({ group: 'math' });
    expect(server.getHandlerByPattern('private')?.extras).toEqual({ private: true });
  });
});

it('getHandlerByPattern takes a JSON text, whatever the order of its keys', async () => {
  @Controller()
  class ObjectController {
    @MessagePattern({ cmd: 'obs', v: 1 }) handle(): void {}
    @MessagePattern({ group: 'math', name: 'sum' }) sum(): void {}
  }
  const { server } = await scope.serve([ObjectController]);

  const handler = server.getHandlerByPattern('{"cmd":"obs","v":1}');
  expect(handler).toBeInstanceOf(Function);
  expect(server.getHandlerByPattern('{"v":1,"cmd":"obs"}')).toBe(handler);
  expect(server.getHandlerByPattern('{ "v": 1, "cmd": "obs" }')).toBe(handler);
  expect(server.getHandlerByPattern('{"name":"sum","group":"math"}')).toBe(
    server.getHandlerByPattern('/math/sum'),
  );
  expect(server.getHandlerByPattern('{"v":2,"cmd":"obs"}')).toBe(null);
  expect(server.getHandlerByPattern('null')).toBe(null);
});

describe('which handlers are bound', () => {
  @Controller()
  class MixedController {
    @MessagePattern('untagged') untagged(): string {
      return 'untagged';
    }
    @MessagePattern('tagged', RAP_TRANSPORT) tagged(): string {
      return 'tagged';
    }
    @MessagePattern('symbol', Symbol.for('rap')) symbol(): string {
      return 'symbol';
    }
    @MessagePattern('marked', { rap: true }) marked(): string {
      return 'marked';
    }
    @MessagePattern('grouped', { group: 'math' }) grouped(): string {
      return 'grouped';
    }
    @MessagePattern('tcp', Transport.TCP) tcp(): string {
      return 'tcp';
    }
    @MessagePattern('kafka', Transport.KAFKA, { private: true }) kafka(): string {
      return 'kafka';
    }
  }
  @RapGroup('whole')
  @Controller()
  class WholeController {
    @MessagePattern('whole') whole(): string {
      return 'whole';
    }
  }
  const all = ['untagged', 'tagged', 'symbol', 'marked', '/math/grouped', '/whole/whole', 'tcp', 'kafka'];

  async function bound(
    bindUntagged?: boolean | ((pattern: unknown, extras: RapPatternExtras) => boolean),
  ): Promise<string[]> {
    const { client } = await scope.serve(
      [MixedController, WholeController],
      bindUntagged === undefined ? {} : { bindUntagged },
    );
    const rap = client();
    const answers = await Promise.allSettled(all.map((pattern) => rap.call<string>(pattern)));
    return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  }

  it('by default: untagged ones and those tagged for rap, not those of other transports', async () => {
    expect(await bound()).toEqual(['untagged', 'tagged', 'symbol', 'marked', 'grouped', 'whole']);
    expect(await bound(true)).toEqual(['untagged', 'tagged', 'symbol', 'marked', 'grouped', 'whole']);
  });

  it('bindUntagged false: those with extras of rap', async () => {
    expect(await bound(false)).toEqual(expect.arrayContaining(['marked', 'grouped', 'whole']));
    expect(await bound(false)).not.toContain('untagged');
  });

  it('bindUntagged false: a handler tagged with RAP_TRANSPORT says rap: true as well, for Nest keeps the tag to itself', async () => {
    @Controller()
    class TaggedController {
      @MessagePattern('both', RAP_TRANSPORT, { rap: true }) both(): string {
        return 'both';
      }
    }
    const { client } = await scope.serve([TaggedController], { bindUntagged: false });
    expect(await client().call('both')).toBe('both');
  });

  it('bindUntagged as a function decides for handlers that say nothing', async () => {
    const asked: unknown[] = [];
    const answer = await bound((pattern) => {
      asked.push(pattern);
      return pattern === 'untagged';
    });

    expect(answer).toEqual(expect.arrayContaining(['untagged', 'marked', 'grouped', 'whole']));
    expect(asked).toContain('untagged');
    expect(asked).not.toContain('marked');
    expect(asked).not.toContain('tcp');
  });

  it('bindUntagged as a function gets pattern and extras', async () => {
    const asked: unknown[] = [];
    @Controller()
    class OneController {
      @MessagePattern({ cmd: 'one' }, { audience: 'public' }) one(): void {}
    }
    await scope.serve([OneController], {
      bindUntagged: (pattern, extras) => asked.push([pattern, extras]) > 0,
    });
    expect(asked).toEqual([[{ cmd: 'one' }, { audience: 'public' }]]);
  });
});
