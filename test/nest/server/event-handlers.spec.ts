import 'reflect-metadata';
import { Controller, Inject, Injectable, Scope } from '@nestjs/common';
import { CONTEXT, Ctx, Payload } from '@nestjs/microservices';
import { RapClient, type RapContext } from '../../../lib/index.js';
import { eventually, Gate, sorted, testScope } from '../../helpers/async.js';
import { EventPattern } from '../../helpers/event-pattern.js';
import { callFrom } from '../../helpers/remote-caller.js';

const scope = testScope();
const seen: unknown[] = [];
beforeEach(() => seen.splice(0));

describe('extras of several handlers of one event', () => {
  @Controller()
  class PrivateController {
    @EventPattern('x', { private: true }) hidden(): void {
      seen.push('private');
    }
  }
  @Controller()
  class PublicController {
    @EventPattern('x') open(): void {
      seen.push('public');
    }
    @EventPattern('done') done(): void {
      seen.push('done');
    }
  }

  it.each([
    ['the private one first', [PrivateController, PublicController]],
    ['the public one first', [PublicController, PrivateController]],
  ])('a caller on another machine runs only the public one: %s', async (_, controllers) => {
    const { port, server } = await scope.serve(controllers);
    const stranger = new RapClient({ host: callFrom(server, '192.0.2.7'), port });
    scope.defer(() => stranger.close());

    stranger.emit('x', 1);
    stranger.emit('done', 1);
    await eventually('the last event', () => seen.includes('done'));
    expect(seen).toEqual(['public', 'done']);
  });

  it('a caller on this machine runs both', async () => {
    const { client } = await scope.serve([PrivateController, PublicController]);

    client().emit('x', 1);
    await eventually('both', () => seen.length === 2);
    expect(sorted(seen)).toEqual(['private', 'public']);
  });

  it('all of them private: for a caller on another machine there is none', async () => {
    const { port, server, log } = await scope.serve([PrivateController, PrivateController]);
    const stranger = new RapClient({ host: callFrom(server, '192.0.2.7'), port });
    scope.defer(() => stranger.close());

    stranger.emit('x', 1);
    await eventually('a line in the log', () =>
      log.lines.some((line) => line.includes('no handler for event')),
    );
    expect(seen).toEqual([]);
  });

  it('authorize is asked for each, and those that it allows run', async () => {
    const asked: boolean[] = [];
    const { client } = await scope.serve([PrivateController, PublicController], {
      authorize: (_, handler) => {
        asked.push(handler.isPrivate);
        return !handler.isPrivate;
      },
    });
    const rap = client();

    rap.emit('x', 1);
    rap.emit('done', 1);
    await eventually('the last event', () => seen.includes('done'));
    expect(seen).toEqual(['public', 'done']);
    expect(asked).toEqual([true, false, false]);
  });

  it('each has its own time', async () => {
    const time = scope.stopTime();
    const begun = new Gate();
    @Controller()
    class TimedController {
      @EventPattern('timed', { timeoutMs: 200 })
      async short(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<void> {
        ctx.signal.addEventListener('abort', () => seen.push('short'));
        await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
      }
      @EventPattern('timed', { timeoutMs: 20_000 })
      async long(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<void> {
        ctx.signal.addEventListener('abort', () => seen.push('long'));
        begun.open();
        await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
      }
      @EventPattern('timed')
      async usual(@Payload() _: unknown, @Ctx() ctx: RapContext): Promise<void> {
        ctx.signal.addEventListener('abort', () => seen.push('usual'));
        await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
      }
    }
    const { client } = await scope.serve([TimedController], { runTimeoutMs: 9_000 });
    client().emit('timed', 1);
    await begun.opened;
    await new Promise((resolve) => setImmediate(resolve));

    time.pass(300);
    expect(seen).toEqual(['short']);
    time.pass(9_000);
    expect(seen).toEqual(['short', 'usual']);
    time.pass(12_000);
    expect(seen).toEqual(['short', 'usual', 'long']);
  });

  it('the registry calls an event private only if all of its handlers are', async () => {
    const { client } = await scope.serve([PrivateController, PublicController]);
    const list = await client().call<{ func_name: string; is_private: boolean }[]>('/registry/list');
    expect(list.filter(({ func_name }) => func_name === 'x')).toMatchObject([{ is_private: false }]);
  });
});

describe('request-scoped providers of several handlers of one event', () => {
  let made = 0;
  beforeEach(() => (made = 0));

  @Injectable({ scope: Scope.REQUEST })
  class Ordered {
    readonly id = ++made;
    constructor(@Inject(CONTEXT) readonly request: { getData(): unknown }) {}
  }
  @Controller()
  class FirstController {
    constructor(@Inject(Ordered) private readonly ordered: Ordered) {}
    @EventPattern('ordered') first(@Payload() data: unknown): void {
      seen.push(['first', this.ordered.id, data, this.ordered.request.getData()]);
    }
  }
  @Controller()
  class SecondController {
    constructor(@Inject(Ordered) private readonly ordered: Ordered) {}
    @EventPattern('ordered') second(@Payload() data: unknown): void {
      seen.push(['second', this.ordered.id, data, this.ordered.request.getData()]);
    }
  }
  @Controller()
  class PlainController {
    @EventPattern('ordered') plain(@Payload() data: unknown): void {
      seen.push(['plain', data]);
    }
  }

  it.each([
    ['', [FirstController, SecondController, PlainController]],
    [', a plain handler before them', [PlainController, FirstController, SecondController]],
    [', a plain handler between them', [FirstController, PlainController, SecondController]],
  ])('are made once for each event%s', async (_, controllers) => {
    const { client } = await scope.serve(controllers, { providers: [Ordered] });
    const rap = client();

    rap.emit('ordered', 7);
    await eventually('the first event', () => seen.length === 3);
    rap.emit('ordered', 8);
    await eventually('the second event', () => seen.length === 6);

    expect(sorted(seen)).toEqual([
      ['first', 1, 7, 7],
      ['first', 2, 8, 8],
      ['plain', 7],
      ['plain', 8],
      ['second', 1, 7, 7],
      ['second', 2, 8, 8],
    ]);
  });

  it('a provider that cannot be made does not stop the other handlers', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Broken {
      constructor() {
        throw new Error('broken');
      }
    }
    @Controller()
    class BrokenController {
      constructor(@Inject(Broken) readonly broken: Broken) {}
      @EventPattern('ordered') never(): void {
        seen.push('never');
      }
    }
    const { client } = await scope.serve([BrokenController, FirstController, SecondController], {
      providers: [Broken, Ordered],
    });

    client().emit('ordered', 7);
    await eventually('both others', () => seen.length === 2);
    expect(sorted(seen)).toEqual([
      ['first', 1, 7, 7],
      ['second', 1, 7, 7],
    ]);
  });

  it('handlers that were added by hand get data and context', async () => {
    const { client, server } = await scope.serve([FirstController], { providers: [Ordered] });
    const get = (...args: [unknown, RapContext]): Promise<never> => {
      seen.push([args.length, args[0], args[1].name]);
      return Promise.resolve() as never;
    };
    server.addHandler('ordered', (data: unknown, context: RapContext) => get(data, context), true);

    client().emit('ordered', 7);
    await eventually('both', () => seen.length === 2);
    expect(sorted(seen)).toEqual([
      ['first', 1, 7, 7],
      [2, 7, 'ordered'],
    ]);
  });
});
