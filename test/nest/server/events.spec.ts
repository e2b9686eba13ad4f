import 'reflect-metadata';
import {
  type ArgumentsHost,
  type CanActivate,
  Catch,
  Controller,
  type ExceptionFilter,
  UseFilters,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { Ctx, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { EMPTY, firstValueFrom, lastValueFrom, type Observable, of, tap, throwError } from 'rxjs';
import { ConnectionLostError, RapContext, RegisteredError } from '../../../lib/index.js';
import { eventually, Gate, rejection, testScope, within, sorted } from '../../helpers/async.js';
import { EventPattern } from '../../helpers/event-pattern.js';
import { RawSocket } from '../../helpers/raw-socket.js';

const scope = testScope();
const around = {
  intercept: (_: unknown, next: { handle(): Observable<unknown> }) => next.handle().pipe(tap({})),
};
const nothing = (): void => {};

/** What handlers have seen, in this test. */
const seen: unknown[] = [];
beforeEach(() => seen.splice(0));

describe('several handlers of one event', () => {
  @Controller()
  class FirstController {
    @EventPattern('created') one(@Payload() data: unknown): void {
      seen.push(['one', data]);
    }
    @EventPattern('created') async two(@Payload() data: unknown, @Ctx() ctx: RapContext): Promise<void> {
      await Promise.resolve();
      seen.push(['two', data, ctx.name]);
    }
  }
  @Controller()
  class SecondController {
    @UseInterceptors(around)
    @EventPattern('created')
    three(@Payload() data: unknown): Observable<unknown> {
      return of(1).pipe(tap(() => seen.push(['three', data])));
    }
    @EventPattern(['created', 'updated']) four(@Payload() data: unknown): void {
      seen.push(['four', data]);
    }
  }

  it('run all, in one controller and in several, each once', async () => {
    const { client } = await scope.serve([FirstController, SecondController]);

    client().emit('created', 7);

    await eventually('four handlers', () => seen.length === 4);
    expect(sorted(seen)).toEqual([
      ['four', 7],
      ['one', 7],
      ['three', 7],
      ['two', 7, 'created'],
    ]);
  });

  it('an array of patterns binds each of them', async () => {
    const { client } = await scope.serve([FirstController, SecondController]);

    client().emit('updated', 8);

    await eventually('the handler', () => seen.length === 1);
    expect(seen).toEqual([['four', 8]]);
  });

  const failures: [string, () => unknown][] = [
    [
      'throws',
      () => {
        throw new Error('first is broken');
      },
    ],
    ['rejects', () => Promise.reject(new Error('first is broken'))],
    ['gives an Observable that fails', () => throwError(() => new Error('first is broken'))],
    ['gives an empty Observable', () => EMPTY],
  ];
  it.each(failures)('run all though one %s', async (_, fail) => {
    class Slow implements CanActivate {
      async canActivate(): Promise<boolean> {
        await new Promise((resolve) => setTimeout(resolve, 10));
        return true;
      }
    }
    @Controller()
    class BrokenController {
      @EventPattern('created') broken(): unknown {
        return fail();
      }
    }
    @Controller()
    class FineController {
      @EventPattern('created') fine(): void {
        seen.push('fine');
      }
      @UseGuards(Slow)
      @UseInterceptors(around)
      @EventPattern('created')
      slow(): void {
        seen.push('slow');
      }
    }
    const { client } = await scope.serve([BrokenController, FineController]);

    client().emit('created', 1);

    await eventually('both other handlers', () => seen.length === 2);
  });

  it('an event and a request of one name do not meet', async () => {
    @Controller()
    class BothController {
      @MessagePattern('both') request(): string {
        seen.push('request');
        return 'answer';
      }
      @EventPattern('both') event(): void {
        seen.push('event');
      }
    }
    const { client } = await scope.serve([BothController]);
    const rap = client();

    expect(await rap.call('both')).toBe('answer');
    expect(seen).toEqual(['request']);
    rap.emit('both', 1);
    await eventually('the event', () => seen.length === 2);
    expect(seen).toEqual(['request', 'event']);
  });
});

describe('what fails in an event', () => {
  @Controller()
  class FailingController {
    @EventPattern('unknown') unknown(): never {
      throw new TypeError('broken event handler');
    }
    @EventPattern('known') known(): never {
      throw new RpcException('refused event');
    }
    @UseInterceptors(around)
    @EventPattern('late')
    async late(): Promise<never> {
      await Promise.resolve();
      throw new TypeError('broken event handler');
    }
    @UseGuards({ canActivate: () => false })
    @EventPattern('guarded')
    guarded(): void {
      seen.push('guarded');
    }
    @EventPattern('fine') fine(): void {
      seen.push('fine');
    }
  }

  it.each([
    ['unknown', 'broken event handler'],
    ['known', 'refused event'],
    ['late', 'broken event handler'],
    ['guarded', 'Forbidden resource'],
  ])('%s is logged once, answered by nobody, and the next event comes through', async (name, message) => {
    const { client, log, server } = await scope.serve([FailingController]);
    const rap = client();

    await lastValueFrom(rap.emit(name, 1));
    rap.emit('fine', 1);

    await eventually('the next event', () => seen.length);
    await eventually('the log', () => log.lines.length);
    expect(seen).toEqual(['fine']);
    expect(log.lines.filter((line) => line.includes(message))).toHaveLength(1);
    await eventually('nothing to be in flight', () => rap.stats().inFlight === 0);
    expect(rap.stats()).toMatchObject({ queued: 0, channels: 0, lateAnswers: 0 });
    await eventually('no call left', () => server.stats().inFlight === 0);
  });

  it('of a handler that was added by hand is logged too: no filter of Nest was there', async () => {
    const { client, server, log } = await scope.serve([FailingController]);
    server.addHandler('by-hand', () => Promise.reject(new TypeError('broken by hand')), true);
    const rap = client();

    rap.emit('by-hand', 1);
    rap.emit('fine', 1);

    await eventually('the next event', () => seen.length);
    await eventually('the log', () => log.lines.some((line) => line.includes('broken by hand')));
  });

  it('of a filter that fails itself is logged too', async () => {
    @Catch()
    class Broken implements ExceptionFilter {
      catch(): never {
        throw new TypeError('broken filter');
      }
    }
    @UseFilters(Broken)
    @Controller()
    class FilteredController {
      @EventPattern('filtered') filtered(): never {
        throw new Error('x');
      }
    }
    const { client, log } = await scope.serve([FilteredController]);

    client().emit('filtered', 1);

    await eventually('the log', () => log.lines.some((line) => line.includes('broken filter')));
  });

  it('a filter sees the error of an event', async () => {
    @Catch()
    class Filter implements ExceptionFilter {
      catch(error: Error, host: ArgumentsHost): Observable<unknown> {
        seen.push([error.message, host.switchToRpc().getContext<RapContext>().name]);
        return EMPTY;
      }
    }
    @UseFilters(Filter)
    @Controller()
    class FilteredController {
      @EventPattern('broken') broken(): never {
        throw new Error('x');
      }
    }
    const { client, log } = await scope.serve([FilteredController]);

    client().emit('broken', 1);

    await eventually('the filter', () => seen.length);
    expect(seen).toEqual([['x', 'broken']]);
    expect(log.lines).toEqual([]);
  });

  it('nobody handles it: one line in the log, no answer, the connection lives on', async () => {
    const { client, log } = await scope.serve([FailingController]);
    const rap = client();

    await lastValueFrom(rap.emit('nobody', 1));
    await lastValueFrom(rap.emit('nobody', 2));
    rap.emit('fine', 1);
    await eventually('the next event', () => seen.length);

    expect(log.lines).toHaveLength(1);
    expect(log.lines[0]).toContain('"/default/nobody"');
    expect(rap.stats().lateAnswers).toBe(0);
  });
});

describe('an event called as a request', () => {
  @Controller()
  class EventController {
    @EventPattern('one') one(): string {
      seen.push('one');
      return 'for nobody';
    }
    @EventPattern('many') first(): void {
      seen.push('first');
    }
    @EventPattern('many') second(): void {
      seen.push('second');
    }
    @EventPattern('broken') broken(): never {
      throw new RpcException('broken event');
    }
  }

  it('runs all its handlers and is answered with null: Python knows no one-way calls', async () => {
    const { client, port } = await scope.serve([EventController]);
    const rap = client();

    await rap.call('one');
    expect(await rap.call('many')).toBe(null);
    const raw = await RawSocket.open(port);
    scope.defer(() => raw.destroy());
    raw.send([101, 7, { target: '/default/many' }, null]);
    expect(await raw.answer(7)).toEqual([101, 7, {}, null]);
    raw.destroy();

    expect(sorted(seen)).toEqual(['first', 'first', 'one', 'second', 'second']);
  });

  it('fails as a request does', async () => {
    const { client } = await scope.serve([EventController]);
    expect(await rejection(client().call('broken'))).toMatchObject({ status: 301, message: 'broken event' });
  });
});

it('a request sent as an event runs, and is not answered', async () => {
  @Controller()
  class RequestController {
    @MessagePattern('request') request(@Payload() data: unknown): string {
      seen.push(data);
      return 'dropped';
    }
  }
  const { client, server } = await scope.serve([RequestController]);
  const rap = client();

  await lastValueFrom(rap.emit('request', 1));

  await eventually('the handler', () => seen.length);
  await eventually('its end', () => server.stats().inFlight === 0);
  expect(rap.stats().lateAnswers).toBe(0);
});

describe('emit()', () => {
  @Controller()
  class CountController {
    @EventPattern('tick') tick(@Payload() data: unknown): void {
      seen.push(data);
    }
  }

  it('is hot: sent once without a subscriber, and once with several', async () => {
    const { client } = await scope.serve([CountController]);
    const rap = client();

    rap.emit('tick', 'nobody');
    await eventually('the event', () => seen.length === 1);
    const source = rap.emit('tick', 'two');
    await Promise.all([lastValueFrom(source), lastValueFrom(source)]);
    await lastValueFrom(rap.emit('tick', 'end'));

    await eventually('the last event', () => seen.includes('end'));
    expect(seen).toEqual(['nobody', 'two', 'end']);
  });

  it('is sent though nobody is connected yet', async () => {
    const { client } = await scope.serve([CountController]);
    client().emit('tick', 1);
    await eventually('the event', () => seen.length);
  });

  it('keeps the order of events and calls', async () => {
    const { client } = await scope.serve([CountController]);
    const rap = client();
    await rap.connect();

    for (let i = 0; i < 100; i++) rap.emit('tick', i);

    await eventually('all events', () => seen.length === 100);
    expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  it('keeps the order though the client connects with the first', async () => {
    const { client } = await scope.serve([CountController]);
    const rap = client();

    for (let i = 0; i < 100; i++) rap.emit('tick', i);

    await eventually('all events', () => seen.length === 100);
    expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  it('gives one value and completes, so that firstValueFrom and lastValueFrom both work', async () => {
    const { client } = await scope.serve([CountController]);
    const rap = client();

    expect(await firstValueFrom(rap.emit('tick', 1))).toBe(undefined);
    expect(await lastValueFrom(rap.emit('tick', 1))).toBe(undefined);
  });

  it('without a server: an error for who subscribes, nothing for who does not', async () => {
    const { client, app } = await scope.serve([CountController]);
    const rap = client();
    await app.close();

    rap.emit('tick', 1);
    const error = await rejection(lastValueFrom(rap.emit('tick', 1)));

    expect(error).toBeInstanceOf(ConnectionLostError);
    expect(error).toMatchObject({ sent: 'no' });
    // an unhandled rejection of the first would end the process now
    await new Promise(setImmediate);
  });

  it.each([[''], [{ group: 'a/b', name: 'c' }]])(
    'with the invalid pattern %j: a RegisteredError',
    async (pattern) => {
      const { client } = await scope.serve([CountController]);
      const rap = client();

      expect(await rejection(lastValueFrom(rap.emit(pattern, 1)))).toBeInstanceOf(RegisteredError);
      await rap.connect();
      expect(await rejection(lastValueFrom(rap.emit(pattern, 1)))).toBeInstanceOf(RegisteredError);
    },
  );

  it('with data that cannot be encoded: an error for who subscribes', async () => {
    const { client } = await scope.serve([CountController]);
    const ring: Record<string, unknown> = {};
    ring['ring'] = ring;
    const rap = client();

    const error = await rejection(within('the error', lastValueFrom(rap.emit('tick', ring))));
    rap.emit('tick', ring).subscribe({ error: nothing });

    expect(error).toMatchObject({ status: expect.any(Number), code: expect.stringMatching(/^ERR_RAP_/) });
    rap.emit('tick', 'next');
    await eventually('the next event', () => seen.length);
    expect(seen).toEqual(['next']);
  });

  it('without a pattern: an error', async () => {
    const { client } = await scope.serve([CountController]);
    const rap = client();
    await rejection(lastValueFrom(rap.emit(undefined, 1)));
    await rejection(lastValueFrom(rap.emit(null, 1)));
  });

  it('an event that runs does not hold up the connection, and close() waits for it', async () => {
    const started = new Gate();
    const finish = new Gate();
    @Controller()
    class SlowController {
      @EventPattern('slow') async slow(): Promise<void> {
        started.open();
        await finish.opened;
        seen.push('slow');
      }
      @MessagePattern('quick') quick(): string {
        return 'quick';
      }
    }
    const { client, server } = await scope.serve([SlowController]);
    const rap = client();
    rap.emit('slow', 1);
    await started.opened;
    expect(await rap.call('quick')).toBe('quick');

    const closed = server.close();
    finish.open();
    await closed;

    expect(seen).toEqual(['slow']);
  });
});

describe('many events at once', () => {
  let gate: Gate;
  let started: number;
  beforeEach(() => {
    gate = new Gate();
    started = 0;
  });
  @Controller()
  class SlowController {
    @EventPattern('slow') async slow(@Payload() data: unknown): Promise<void> {
      started += 1;
      await gate.opened;
      seen.push(data);
    }
  }

  it('are all handled, in order of their starts: the client holds back what would find no slot', async () => {
    const { client, server, log } = await scope.serve([SlowController]);
    const rap = client();

    const sent = Array.from({ length: 1000 }, (_, i) => lastValueFrom(rap.emit('slow', i)));
    await eventually('no slot is left', () => started === 256);
    await rap.ping(); // behind whatever was sent
    expect(started).toBe(256);
    gate.open();
    await within('all were taken', Promise.all(sent));
    await eventually('all were handled', () => seen.length === 1000);
    expect(seen).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(rap.stats()).toMatchObject({ inFlight: 0, queued: 0 });
    expect([log.lines, server.stats().refusedCalls]).toEqual([[], 0]);
  });

  it('that the server refuses fail, and are logged, observed or not', async () => {
    const { client, log } = await scope.serve([SlowController], { limits: { maxInFlightTotal: 1 } });
    const rap = client();

    await lastValueFrom(rap.emit('slow', 1));
    expect(await rejection(lastValueFrom(rap.emit('slow', 2)))).toMatchObject({
      name: 'TooManyRequestsError',
      status: 429,
    });
    rap.emit('slow', 3);
    await eventually('two lines', () => log.lines.length === 2);
    for (const line of log.lines) expect(line).toMatch(/event slow was lost: .*in flight/);
    gate.open();
    await eventually('the first was handled', () => seen.length === 1);
  });

  it('complete, and arrive, if the client closes before the server has said that it took them', async () => {
    const { client } = await scope.serve([SlowController]);
    const rap = client();
    await rap.connect();
    const sent = Array.from({ length: 250 }, (_, i) => lastValueFrom(rap.emit('slow', i)));
    await Promise.resolve();
    rap.close();
    await within('all complete', Promise.all(sent));
    gate.open();
    await eventually('all were handled', () => seen.length === 250);
  });

  it.each(['close', 'drain'] as const)('are all handled that completed before %s()', async (end) => {
    const { client } = await scope.serve([SlowController]);
    const rap = client();
    const sent = Array.from({ length: 250 }, (_, i) => lastValueFrom(rap.emit('slow', i)));
    gate.open();
    await within('all complete', Promise.all(sent));
    await rap[end]();
    await eventually('all were handled', () => seen.length === 250);
  });

  it('that cannot be sent fail, and are logged a few times if nobody subscribes', async () => {
    const { client, log } = await scope.serve([SlowController]);
    const rap = client({ port: 1 }); // nobody listens there

    expect(await rejection(lastValueFrom(rap.emit('slow', 0)))).toBeInstanceOf(ConnectionLostError);
    expect(log.lines).toEqual([]);
    for (let i = 0; i < 100; i++) rap.emit('slow', i);
    await rejection(rap.call('slow'));
    await eventually('lines', () => log.lines.length > 0);
    expect(log.lines.length).toBeLessThan(20);
    expect(log.lines[0]).toContain('the event slow was lost: cannot connect to');
  });
});
