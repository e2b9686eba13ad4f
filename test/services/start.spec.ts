import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern } from '@nestjs/microservices';
import { z } from 'zod';
import {
  clientStream,
  defineService,
  duplex,
  ChannelPattern,
  type RapChannel,
  RapClient,
  RapGroup,
  RegisteredError,
  RapService,
  serverStream,
  unary,
  type AnyRapMethod,
} from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';

const scope = testScope();

const S = defineService('math', {
  sum: unary<{ a: number; b: number }, number>(),
  count: serverStream<number, number>(),
});

/** What the start fails with. */
async function startError(...controllers: Parameters<typeof scope.serve>[0]): Promise<Error> {
  const error = await rejection(scope.serve(controllers));
  expect(error).toBeInstanceOf(RegisteredError);
  return error;
}

describe('a controller that is not the service it says', () => {
  it('fails the start if methods are missing, and names them all', async () => {
    @RapService(S)
    class EmptyController {}

    const { message } = await startError(EmptyController);

    expect(message).toBe(
      'EmptyController, service "math": the method "sum" is missing; ' +
        'EmptyController, service "math": the method "count" is missing',
    );
  });

  it('fails if a method is a property, an accessor, or one that every object has', async () => {
    const T = defineService('odd', {
      arrow: unary<void, number>(),
      accessor: unary<void, number>(),
      toString: unary<void, string>(),
    });
    @RapService(T)
    class OddController {
      arrow = (): number => 1;
      get accessor(): () => number {
        throw new Error('not to be called');
      }
    }

    const { message } = await startError(OddController);

    for (const name of ['arrow', 'accessor', 'toString']) expect(message).toContain(`"${name}" is missing`);
  });

  it('fails if a public method is not in the contract', async () => {
    @RapService(S)
    class ExtraController {
      sum(): void {}
      count(): void {}
      multiply(): void {}
    }

    const { message } = await startError(ExtraController);

    expect(message).toContain(
      'ExtraController, service "math": the method "multiply" is not in the contract',
    );
  });

  it.each([
    ['a message', MessagePattern('multiply')],
    ['an event', EventPattern('multiplied')],
  ])('fails if a method handles %s beside the contract', async (_, decorate) => {
    class ExtraController {
      sum(): void {}
      count(): void {}
      multiply(): void {}
    }
    const { prototype } = ExtraController;
    decorate(prototype, 'multiply', Object.getOwnPropertyDescriptor(prototype, 'multiply') as never);
    RapService(S)(ExtraController);

    expect((await startError(ExtraController)).message).toContain('"multiply"');
  });

  it('starts with hooks of Nest, private, underscored, allowed, static and inherited methods', async () => {
    class Base {
      helper(): number {
        return 3;
      }
    }
    @RapService(S, { allow: ['allowed'] })
    class FullController extends Base {
      static make(): void {}
      readonly field = 1;
      sum(): number {
        return this.#hidden() + this._underscored() + this.allowed() + this.helper() + this.got;
      }
      *count(): Generator<number> {}
      onModuleInit(): void {}
      onApplicationShutdown(): void {}
      allowed(): number {
        return 2;
      }
      get got(): number {
        return 4;
      }
      _underscored(): number {
        return 1;
      }
      #hidden(): number {
        return 0;
      }
    }

    const { client } = await scope.serve([FullController]);

    expect(await client().service(S).sum({ a: 1, b: 2 })).toBe(10);
  });

  it('fails if a class is bound to two services', async () => {
    const T = defineService('other', { sum: unary() });
    @RapService(T)
    @RapService(S)
    class TwoController {
      sum(): void {}
      count(): void {}
    }

    const { message } = await startError(TwoController);

    expect(message).toBe('TwoController, service "math": it cannot be service "other" as well');
  });

  it('fails if two classes implement one service, and names both methods', async () => {
    @RapService(S)
    class OneController {
      sum(): void {}
      count(): void {}
    }
    @RapService(defineService('math', { sum: unary() }))
    class OtherController {
      sum(): void {}
    }

    const { message } = await startError(OneController, OtherController);

    expect(message).toContain('/math/sum is handled by OneController.sum');
    expect(message).toContain('and by OtherController.sum');
    expect(message).not.toContain('/math/count');
  });

  it('fails if a method of the contract has a pattern of its own', async () => {
    @RapService(S)
    class OwnController {
      @MessagePattern('plus') sum(): void {}
      count(): void {}
    }

    expect((await startError(OwnController)).message).toContain('the method "sum" has a pattern of its own');
  });

  it('fails if a subclass overrides a method without a word', async () => {
    @RapService(S)
    class MathController {
      sum(): number {
        return 1;
      }
      *count(): Generator<number> {}
    }
    @Controller()
    class SubController extends MathController {
      override sum(): number {
        return 2;
      }
    }

    expect((await startError(SubController)).message).toBe(
      'MathController, service "math": the method "sum" is overridden by a class that has no @RapService',
    );
  });

  it('tells of it again if the start is tried again', async () => {
    @RapService(S)
    class EmptyController {}
    const { RapServer } = await import('../../lib/index.js');
    const { NestFactory } = await import('@nestjs/core');
    const { Module } = await import('@nestjs/common');
    class AppModule {}
    Module({ controllers: [EmptyController] })(AppModule);
    const strategy = new RapServer({ host: '127.0.0.1', port: 0 });
    const app = await NestFactory.createMicroservice(AppModule, { strategy, logger: false });
    scope.defer(() => app.close());

    expect(await rejection(app.listen())).toBeInstanceOf(RegisteredError);
    expect(strategy.address()).toBeNull();
    expect(await rejection(app.listen())).toBeInstanceOf(RegisteredError);
  });
});

describe('two handlers in one group', () => {
  it('of one kind fail the start, whichever decorators name them', async () => {
    @RapService(S)
    class MathController {
      sum(): void {}
      count(): void {}
    }
    @RapGroup('math')
    @Controller()
    class OtherController {
      @MessagePattern(['add', 'sum']) add(): void {}
    }

    const { message } = await startError(MathController, OtherController);

    expect(message).toContain('MathController.sum');
    expect(message).toContain('OtherController.add');
  });

  it('of a stream and a channel fail, for both are opened as channels', async () => {
    @Controller()
    class BothController {
      @MessagePattern('/math/count') *count(): Generator<number> {}
    }
    @RapService(S)
    class MathController {
      sum(): void {}
      count(): void {}
    }
    @Controller()
    class ChannelController {
      @ChannelPattern('/math/count') chat(): void {}
    }

    expect((await startError(BothController, MathController)).message).toContain('/math/count');
    expect((await startError(ChannelController, MathController)).message).toContain('/math/count');
    expect((await startError(MathController, ChannelController)).message).toContain('/math/count');
  });

  it('of a call and a channel live side by side, as those of Python do', async () => {
    @Controller()
    class BothController {
      @MessagePattern('echo') call(): string {
        return 'called';
      }
      @ChannelPattern('echo') async channel(channel: RapChannel<string, string>): Promise<void> {
        await channel.write('opened');
      }
    }
    const { client } = await scope.serve([BothController]);
    const rap = client();

    expect(await rap.call('echo')).toBe('called');
    expect(await (await rap.channel('echo')).read()).toBe('opened');
  });
});

describe('extras that cannot be', () => {
  it.each([
    ['timeoutMs', { timeoutMs: 'soon' }, 'timeoutMs must be a number above 0, got soon'],
    ['timeoutMs', { timeoutMs: 0 }, 'timeoutMs must be a number above 0, got 0'],
    ['kind', { kind: 'stram' }, 'kind must be unary, stream or channel, got stram'],
    ['input', { input: { type: 'object' } }, 'input is not a Standard Schema'],
    ['output', { output: 'number' }, 'output is not a Standard Schema'],
    ['private', { private: 'yes' }, 'private must be true or false, got yes'],
    ['private', { private: Object.create(null) as object }, 'private must be true or false, got object'],
    ['idempotent', { idempotent: 1 }, 'idempotent must be true or false, got 1'],
    ['doc', { doc: ['a', 'b'] }, 'doc must be text, got a,b'],
    ['timeoutMs', { timeoutMs: 'x'.repeat(500) }, `above 0, got ${'x'.repeat(80)}...`],
  ])('%s fails the start and names the target', async (_, extras, why) => {
    @Controller()
    class ExtrasController {
      @MessagePattern('sum', extras) sum(): void {}
    }
    const { message } = await startError(ExtrasController);
    expect(message).toContain('/default/sum, pattern "sum": ');
    expect(message.endsWith(why)).toBe(true);
  });

  it('a group with a slash, an empty name and a name of 10,000 characters do, too', async () => {
    for (const decorate of [
      MessagePattern('sum', { group: 'a/b' }),
      MessagePattern('sum', { group: 5 }),
      MessagePattern('sum', { group: null }),
      MessagePattern(''),
      MessagePattern('x'.repeat(10_000)),
    ]) {
      class BadController {
        sum(): void {}
      }
      const descriptor = Object.getOwnPropertyDescriptor(BadController.prototype, 'sum');
      decorate(BadController.prototype, 'sum', descriptor as never);
      Controller()(BadController);
      const { message } = await startError(BadController);
      expect(message).toContain('Invalid target');
      expect(message.length).toBeLessThan(300);
    }
  });
});

describe('what is not a contract', () => {
  const wrong: [what: string, value: unknown, message: string][] = [
    ['nothing', undefined, 'undefined is not a contract of defineService; do two modules import each other?'],
    ['null', null, 'null is not a contract of defineService'],
    ['text', 'math', 'math is not a contract of defineService'],
    ['a class', class Math {}, 'is not a contract of defineService'],
    ['a group without methods', { group: 'math' }, '[object Object] is not a contract of defineService'],
    ['what has no text', Object.create(null), 'object is not a contract of defineService'],
  ];

  it.each(wrong)('%s is refused if a class or a client takes it', (_, value, message) => {
    class MathController {}
    const client = new RapClient();
    const thrown = [
      () => RapService(value as never)(MathController),
      () => client.service(value as never) as unknown,
    ].map((take) => {
      try {
        return take();
      } catch (error) {
        return error;
      }
    });

    expect(thrown[0]).toBeInstanceOf(RegisteredError);
    expect(thrown[1]).toBeInstanceOf(RegisteredError);
    expect((thrown[0] as Error).message).toContain(`@RapService of MathController: `);
    expect((thrown[1] as Error).message).toContain('client.service(): ');
    for (const error of thrown) expect((error as Error).message).toContain(message);
  });

  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    [{}, '[object Object]'],
    ['Math', 'Math'],
  ])('%p is no class for client.controller()', (value, shown) => {
    expect(() => new RapClient().controller(value as never)).toThrow(
      new RegisteredError(`client.controller(): ${shown} is not a class`),
    );
  });
});

describe('defineService refuses, and names service and method', () => {
  const cases: [what: string, define: () => unknown, message: string][] = [
    ['an empty group', () => defineService('', { a: unary() }), 'the group must be text without "/"'],
    ['a group with a slash', () => defineService('a/b', { a: unary() }), 'service "a/b", method "a"'],
    ['a group that is not text', () => defineService(5 as never, { a: unary() }), 'service "5": the group'],
    ['a service without methods', () => defineService('math', {}), 'service "math" has no methods'],
    ['an empty name', () => defineService('math', { '': unary() }), 'method "": the name is empty'],
    [
      'a name with a slash',
      () => defineService('math', { 'a/b': unary() }),
      'method "a/b": a name holds no "/"',
    ],
    [
      'a name of 10,000 characters',
      () => defineService('math', { ['x'.repeat(10_000)]: unary() }),
      'longer than 256 bytes',
    ],
    // oxlint-disable-next-line unicorn/no-thenable -- that is why
    ['then', () => defineService('math', { then: unary() }), 'method "then"'],
    ['a hook of Nest', () => defineService('math', { onModuleInit: unary() }), 'method "onModuleInit"'],
    ['constructor', () => defineService('math', { constructor: unary() }), 'method "constructor"'],
    [
      '__proto__',
      () => defineService('math', JSON.parse('{"__proto__": {}}') as Record<string, AnyRapMethod>),
      'method "__proto__"',
    ],
    [
      'a method that is none',
      () => defineService('math', { sum: (() => 1) as never }),
      'method "sum": made by none of unary, serverStream, clientStream, duplex',
    ],
    [
      'a timeoutMs of 0',
      () => defineService('math', { sum: unary({ timeoutMs: 0 }) }),
      'timeoutMs must be a number',
    ],
    [
      'a schema that is none',
      () => defineService('math', { sum: unary({ input: {} as never }) }),
      'method "sum": input is not a Standard Schema',
    ],
    [
      'an output that is none',
      () => defineService('math', { sum: duplex({ output: null as never }) }),
      'method "sum": output is not a Standard Schema',
    ],
    [
      'an alias that is another method',
      () => defineService('math', { sum: unary(), add: unary({ aliases: ['sum'] }) }),
      'method "add": /math/sum is "sum" already',
    ],
    [
      'an alias of its own name',
      () => defineService('math', { sum: unary({ aliases: ['sum'] }) }),
      '/math/sum is "sum"',
    ],
    [
      'an alias that is not a name',
      () => defineService('math', { sum: clientStream({ aliases: ['a/b/c'] }) }),
      'method "sum": the alias "a/b/c" is neither "name" nor "/group/name"',
    ],
    ['methods that are none', () => defineService('math', null as never), 'service "math": the methods must'],
    [
      'a group that has no text',
      () => defineService(Object.create(null) as never, { a: unary() }),
      'service "object": the group must be text',
    ],
    ['a group that is a symbol', () => defineService(Symbol('x') as never, {}), 'service "Symbol(x)": the'],
    [
      'private that is not a boolean',
      () => defineService('math', { sum: unary({ private: 'yes' as never }) }),
      'method "sum": private must be true or false, got yes',
    ],
    [
      'idempotent that is not a boolean',
      () => defineService('math', { sum: unary({ idempotent: 1 as never }) }),
      'method "sum": idempotent must be true or false, got 1',
    ],
    [
      'doc that is not text',
      () => defineService('math', { sum: unary({ doc: {} as never }) }),
      'method "sum": doc must be text, got [object Object]',
    ],
    [
      'a timeoutMs that has no text',
      () => defineService('math', { sum: unary({ timeoutMs: Object.create(null) as never }) }),
      'timeoutMs must be a number above 0, got object',
    ],
    [
      'an option that does not exist',
      () => defineService('math', { sum: unary({ timeout: 5 } as never) }),
      'method "sum": there is no option "timeout"',
    ],
    [
      'an option with a long name',
      () => defineService('math', { sum: unary({ ['x'.repeat(500)]: 5 } as never) }),
      `there is no option "${'x'.repeat(80)}..."`,
    ],
    [
      'an alias that is a symbol',
      () => defineService('math', { sum: unary({ aliases: [Symbol('x')] as never }) }),
      'the alias "Symbol(x)" is neither',
    ],
    [
      'an alias of 10,000 characters',
      () => defineService('math', { sum: unary({ aliases: ['x'.repeat(10_000)] }) }),
      'method "sum": Invalid target',
    ],
    [
      'aliases that are no list',
      () => defineService('math', { sum: unary({ aliases: 'add' as never }) }),
      'aliases must be a list',
    ],
  ];
  it.each(cases)('%s', (_, define, message) => {
    let thrown: unknown;
    try {
      define();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(RegisteredError);
    expect((thrown as Error).message).toContain(message);
    expect((thrown as Error).message.length).toBeLessThan(400);
  });

  it('keeps a definition as it was made', () => {
    const methods = { sum: unary({ input: z.number() }) };
    const defined = defineService('math', methods);
    Object.assign(methods, { other: unary() });

    expect(Object.keys(defined.methods)).toEqual(['sum']);
    expect(Object.isFrozen(defined)).toBe(true);
    expect(Object.isFrozen(defined.methods)).toBe(true);
  });
});
