import 'reflect-metadata';
import {
  Controller,
  Injectable,
  Scope,
  SetMetadata,
  type PipeTransform,
  UsePipes,
  ValidationPipe,
} from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { IsInt } from 'class-validator';
import { z } from 'zod';
import {
  clientStream,
  defineService,
  duplex,
  ParseError,
  RapChannel,
  RapContext,
  RapService,
  RegisteredError,
  serverStream,
  unary,
} from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';
import { collect } from '../helpers/streams.js';

const scope = testScope();

class CountDto {
  @IsInt() count!: number;
}

const Counts = defineService('counts', {
  one: unary<unknown, unknown>({ aliases: ['single'] }),
  many: serverStream<unknown, unknown>(),
  upload: clientStream<unknown, unknown>(),
  chat: duplex<unknown, unknown>(),
});

/** TypeScript keeps the types of a method's parameters if something of it has a decorator. */
const Typed = (): MethodDecorator => SetMetadata('any', true);

const validated = {
  prepare: (app: { useGlobalPipes(pipe: PipeTransform): unknown }): void =>
    void app.useGlobalPipes(new ValidationPipe({ transform: true })),
};

describe('a parameter of a service method without @Payload()', () => {
  it('is validated if the types are known, also if only others have decorators', async () => {
    @RapService(Counts)
    class CountController {
      one(data: CountDto, @Ctx() context: RapContext): unknown {
        return [data instanceof CountDto, data.count, context.target];
      }
      @Typed() async *many(data: CountDto): AsyncGenerator {
        yield [data instanceof CountDto, data.count];
      }
      async upload(channel: RapChannel, @Ctx() context: RapContext): Promise<unknown> {
        return [await collect(channel), context.target];
      }
      async chat(channel: RapChannel, @Ctx() context: RapContext): Promise<void> {
        for await (const item of channel) await channel.write([item, context.target]);
      }
    }
    const app = await scope.serve([CountController], validated);
    const client = app.client();
    const counts = client.service(Counts);

    expect(await counts.one({ count: 1 })).toEqual([true, 1, '/counts/one']);
    expect(await collect(counts.many({ count: 2 }))).toEqual([[true, 2]]);
    expect(await rejection(counts.one({ count: 'many' }))).toBeInstanceOf(ParseError);
    expect(await rejection(collect(counts.many({ count: 'many' })))).toBeInstanceOf(ParseError);
    expect(await counts.upload([3])).toEqual([[3], '/counts/upload']);
    const chat = await counts.chat();
    await chat.write(4);
    await chat.end();
    expect(await collect(chat)).toEqual([[4, '/counts/chat']]);
  });

  it('has a context behind it, also without @Ctx()', async () => {
    const One = defineService('counts', { one: unary<unknown, unknown>() });
    @RapService(One)
    class CountController {
      one(@Payload() data: CountDto, context: RapContext): unknown {
        return [data.count, context.target];
      }
    }
    const app = await scope.serve([CountController], validated);

    expect(await app.client().service(One).one({ count: 1 })).toEqual([1, '/counts/one']);
  });
});

const ofMethod = (name: string): string =>
  `CountController, service "counts": ValidationPipe cannot check the parameter of "${name}": its type is not known at run time. ` +
  'Put @Payload() before the parameter (and compile with emitDecoratorMetadata), or give the method of the contract an input schema';

describe('a ValidationPipe that cannot know the type of a parameter', () => {
  class Plain {
    one(data: CountDto): unknown {
      return data.count;
    }
    async *many(data: CountDto, context: RapContext): AsyncGenerator {
      yield [data.count, context.target];
    }
    async upload(channel: RapChannel): Promise<unknown> {
      return collect(channel);
    }
    async chat(channel: RapChannel): Promise<void> {
      for await (const item of channel) await channel.write(item);
    }
  }
  const service = (): typeof Plain => {
    @RapService(Counts)
    class CountController extends Plain {}
    return CountController;
  };

  it('fails the start, which names each method and says what to do', async () => {
    const error = await rejection(scope.serve([service()], validated));

    expect(error).toBeInstanceOf(RegisteredError);
    expect(error.message).toBe(`${ofMethod('one')}; ${ofMethod('many')}`);
  });

  it.each([
    ['on the class', UsePipes(new ValidationPipe())],
    ['on the class, to be made by Nest', UsePipes(ValidationPipe)],
    ['of a subclass', UsePipes(new (class StricterPipe extends ValidationPipe {})())],
  ])('fails the start %s', async (_, decorate) => {
    const Class = service();
    decorate(Class);

    expect((await rejection(scope.serve([Class]))).message).toContain('cannot check the parameter of "one"');
  });

  it('fails the start of this application and not of the next', async () => {
    const Class = service();
    await rejection(scope.serve([Class], validated));

    const app = await scope.serve([Class]);

    expect(await app.client().service(Counts).one({ count: 1 })).toBe(1);
  });

  it('fails the call of a controller that is made for each request', async () => {
    const One = defineService('counts', { one: unary<unknown, unknown>() });
    let calls = 0;
    @RapService(One)
    @Controller({ scope: Scope.REQUEST })
    class CountController {
      one(data: CountDto): unknown {
        calls += 1;
        return data.count;
      }
    }
    const app = await scope.serve([CountController], validated);

    const error = await rejection(app.client().service(One).one({ count: 'many' }));

    expect(error['code']).toBe('ERR_RAP_SERVER');
    expect(calls).toBe(0);
    expect(app.log.lines.join()).toContain('ValidationPipe cannot check the parameter of "one"');
  });

  it('is no matter to methods that take none, to those with a schema, and to other pipes', async () => {
    const Checked = defineService('checked', {
      none: unary<void, unknown>(),
      schema: unary({ input: z.object({ count: z.int() }) }),
    });
    @RapService(Checked)
    class CheckedController {
      none(): string {
        return 'none';
      }
      schema({ count }: { count: number }): number {
        return count;
      }
    }
    @Injectable()
    class OtherPipe implements PipeTransform {
      transform(value: unknown): unknown {
        return value;
      }
    }
    const app = await scope.serve([CheckedController], validated);
    const checked = app.client().service(Checked);
    const plain = await scope.serve([service()], {
      prepare: (it) => it.useGlobalPipes(new OtherPipe(), new ValidationPipe({ expectedType: CountDto })),
    });

    expect(await checked.none()).toBe('none');
    expect(await checked.schema({ count: 1 })).toBe(1);
    expect(await rejection(checked.schema({ count: 'many' } as never))).toBeInstanceOf(ParseError);
    expect(await rejection(plain.client().service(Counts).one({ count: 'many' }))).toBeInstanceOf(ParseError);
  });

  it('knows parameters that have a default', async () => {
    const One = defineService('counts', { one: unary<unknown, unknown>() });
    @RapService(One)
    class CountController {
      one(data: Partial<CountDto> = {}): unknown {
        return data.count;
      }
    }

    expect((await rejection(scope.serve([CountController], validated))).message).toContain('"one"');
  });
});
