import 'reflect-metadata';
import { Readable } from 'node:stream';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { Observable, range } from 'rxjs';
import {
  ChannelPattern,
  clientStream,
  defineService,
  duplex,
  RapChannel,
  type RapContext,
  RapGroup,
  type RapHandlers,
  RapService,
  RegisteredError,
  serverStream,
  unary,
} from '../../lib/index.js';
import { EventPattern } from '../helpers/event-pattern.js';
import { eventually, rejection, testScope } from '../helpers/async.js';
import { collect } from '../helpers/streams.js';

const scope = testScope();

const events: unknown[] = [];

@RapGroup('math')
@Controller()
class MathController {
  @MessagePattern('sum') sum(@Payload() { a, b }: { a: number; b: number }, @Ctx() ctx: RapContext): string {
    return `${ctx.target} ${a + b}`;
  }
  @MessagePattern({ cmd: 'object' }) async byObject(@Payload() text: string): Promise<string> {
    return Promise.resolve(text);
  }
  @MessagePattern(['first', 'second']) named(@Ctx() ctx: RapContext): string {
    return ctx.target;
  }
  @MessagePattern('/other/own') own(@Ctx() ctx: RapContext): string {
    return ctx.target;
  }
  @MessagePattern('grouped', { group: 'third' }) grouped(@Ctx() ctx: RapContext): string {
    return ctx.target;
  }
  @MessagePattern('generate') async *generate(@Payload() n: number): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield i;
  }
  @MessagePattern('observe') observe(@Payload() n: number): Observable<number> {
    return range(0, n);
  }
  @MessagePattern('read') read(): Readable {
    return Readable.from(['a', 'b']);
  }
  @MessagePattern('returned', { kind: 'stream' }) returned(@Payload() n: number): AsyncGenerator<number> {
    return this.generate(n);
  }
  @ChannelPattern('echo') async echo(@Payload() channel: RapChannel<string, number>): Promise<void> {
    for await (const line of channel) await channel.write(line.length);
  }
  @EventPattern('done') done(@Payload() value: string): void {
    events.push(value);
  }
  helper(): number {
    return 1;
  }
}

describe('client.controller', () => {
  it('calls what the decorators say: groups, patterns and kinds', async () => {
    const { client } = await scope.serve([MathController]);
    const math = client().controller(MathController);

    expect(await math.sum({ a: 1, b: 2 })).toBe('/math/sum 3');
    expect(await math.byObject('x')).toBe('x');
    expect(await math.named()).toBe('/math/first');
    expect(await math.own()).toBe('/other/own');
    expect(await math.grouped()).toBe('/third/grouped');
    expect(await collect(math.generate(2))).toEqual([0, 1]);
    expect(await collect(math.observe(3))).toEqual([0, 1, 2]);
    expect(await collect(math.read())).toEqual(['a', 'b']);
    expect(await collect(math.returned(2))).toEqual([0, 1]);
    const echo = await math.echo();
    await echo.write('four');
    expect(await echo.read()).toBe(4);
    echo.close();
    await math.done('event');
    await eventually('the event', () => events.length > 0);
    expect(events).toEqual(['event']);
  });

  it('works for the controller of a service, and for inherited handlers', async () => {
    const S = defineService('svc', {
      sum: unary<number[], number>(),
      count: serverStream<number, number>(),
      total: clientStream<number, number>(),
      chat: duplex<string, string>(),
    });
    class Base {
      sum(numbers: number[]): number {
        return numbers.length;
      }
    }
    @RapService(S)
    class SvcController extends Base implements RapHandlers<typeof S> {
      count(n: number): Observable<number> {
        return range(0, n);
      }
      async total(items: AsyncIterable<number>): Promise<number> {
        return (await collect(items)).length;
      }
      async chat(channel: RapChannel<string, string>): Promise<void> {
        await channel.write(String(await channel.read()));
      }
    }
    const { client } = await scope.serve([SvcController]);
    const svc = client().controller(SvcController);

    expect(await svc.sum([1, 2])).toBe(2);
    expect(await collect(svc.count(2))).toEqual([0, 1]);
    expect(await svc.total([7, 8, 9])).toBe(3);
    const chat = await svc.chat();
    await chat.write('x');
    expect(await chat.read()).toBe('x');
    await chat.closed;
  });

  it('refuses a method that handles no pattern, and a class without any, by name', async () => {
    const { client } = await scope.serve([MathController]);
    const rap = client();
    class NoController {
      helper(): void {}
    }

    expect(() => rap.controller(MathController).helper()).toThrow(
      new RegisteredError('MathController.helper handles no pattern: it cannot be called remotely'),
    );
    expect(() => rap.controller(NoController)).toThrow(
      new RegisteredError('NoController has no method that handles a pattern'),
    );
  });

  it('refuses items for a channel that is not an upload, however its types look', async () => {
    @Controller()
    class LogController {
      @ChannelPattern('log') log(@Payload() _lines: RapChannel<string, never>): void {}
    }
    const { client, server } = await scope.serve([LogController]);
    const controller = client().controller(LogController);

    for (const items of [['a'], new Set(['a']), Readable.from(['a'])])
      expect(() => controller.log(items)).toThrow(
        'LogController.log is a channel: open it and write the items',
      );
    expect(server.stats().connections).toBe(0);
  });

  it('is the same proxy each time, and awaiting it is no call', async () => {
    const { client } = await scope.serve([MathController]);
    const rap = client();
    const math = rap.controller(MathController);

    expect(rap.controller(MathController)).toBe(math);
    expect(await Promise.resolve(math)).toBe(math);
  });

  it('gives a stream if a method streams without a word', async () => {
    @Controller()
    class SilentController {
      @MessagePattern('silent') silent(): Iterable<number> {
        return [1, 2].values();
      }
      @MessagePattern('typed', { kind: 'unary' }) typed(): Iterable<number> {
        return [1, 2].values();
      }
    }
    const { client } = await scope.serve([SilentController]);
    const controller = client().controller(SilentController);

    expect(await collect(await Promise.resolve(controller.silent() as never))).toEqual([1, 2]);
    const typed = controller.typed() as unknown as Promise<unknown>;
    expect((await rejection(typed)).message).toContain('use stream(), not call()');
  });
});
