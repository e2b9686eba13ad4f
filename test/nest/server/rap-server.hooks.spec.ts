import 'reflect-metadata';
import { AsyncLocalStorage } from 'node:async_hooks';
import { Controller, UseGuards, UseInterceptors } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import {
  Ctx,
  MessagePattern,
  Payload,
  type ReadPacket,
  RpcException,
  type Server,
} from '@nestjs/microservices';
import { delay, EMPTY, firstValueFrom, lastValueFrom, type Observable, of, tap, throwError } from 'rxjs';
import { ParseError, RAP_TRANSPORT, RapContext, ServerError, type RapClient } from '../../../lib/index.js';
import { eventually, Gate, rejection, testScope, within, type ServedApp } from '../../helpers/async.js';
import { EventPattern } from '../../helpers/event-pattern.js';
import { RawSocket } from '../../helpers/raw-socket.js';

const scope = testScope();

interface Span {
  readonly transport: unknown;
  readonly target: string;
  /** What the store held when each end hook ran. */
  readonly ends: unknown[];
  doneSettled: boolean;
}

/** Traces a server as instrumentation does: a span in the async context of each message. */
function trace({ server }: Pick<ServedApp, 'server'>): { spans: Span[]; store: AsyncLocalStorage<Span> } {
  const store = new AsyncLocalStorage<Span>();
  const spans: Span[] = [];
  server.setOnProcessingStartHook((transport, context, done) => {
    const { target } = context as RapContext;
    const span: Span = { transport, target, ends: [], doneSettled: false };
    spans.push(span);
    return store.run(span, async () => {
      await done();
      span.doneSettled = true;
    });
  });
  server.setOnProcessingEndHook((transport, context) => {
    const span = spans.find(({ target }) => target === (context as RapContext).target);
    if (transport === RAP_TRANSPORT) span?.ends.push(store.getStore());
  });
  return { spans, store };
}

const never = new Promise<never>(() => {});

@Controller()
class TracedController {
  @MessagePattern('value') value(): number {
    return 1;
  }
  @MessagePattern('void') void(): void {}
  @MessagePattern('promise') async promise(): Promise<number> {
    await new Promise(setImmediate);
    return 1;
  }
  @MessagePattern('observable') observable(): Observable<number> {
    return of(1).pipe(delay(5));
  }
  @MessagePattern('empty') empty(): Observable<never> {
    return EMPTY;
  }
  @UseInterceptors({ intercept: (_, next) => next.handle().pipe(tap({})) })
  @MessagePattern('intercepted')
  intercepted(): number {
    return 1;
  }
  @MessagePattern('rap-error') rapError(): never {
    throw new ParseError('x');
  }
  @MessagePattern('rpc-exception') rpcException(): never {
    throw new RpcException('x');
  }
  @MessagePattern('unknown-error') unknownError(): never {
    throw new Error('x');
  }
  @MessagePattern('observable-error') observableError(): Observable<never> {
    return throwError(() => new Error('x'));
  }
  @UseGuards({ canActivate: () => false })
  @MessagePattern('refused')
  refused(): void {}
  @MessagePattern('unencodable') unencodable(): unknown {
    return { f: () => {}, s: Symbol('x') };
  }
  @MessagePattern('stuck') stuck(): Promise<never> {
    return never;
  }
  @MessagePattern('slow', { timeoutMs: 20 }) slow(): Promise<never> {
    return never;
  }
  @UseInterceptors({ intercept: (_, next) => next.handle().pipe(tap({})) })
  @MessagePattern('slow-intercepted', { timeoutMs: 20 })
  slowIntercepted(): Promise<never> {
    return never;
  }
}

describe('processing hooks: start and end exactly once, the end in the context of the start', () => {
  const names = [
    'value',
    'void',
    'promise',
    'observable',
    'empty',
    'intercepted',
    'rap-error',
    'rpc-exception',
    'unknown-error',
    'observable-error',
    'refused',
    'unencodable',
    'slow',
    'slow-intercepted',
  ];
  it.each(names)('for a call: %s', async (name) => {
    const test = await scope.serve([TracedController]);
    const { spans } = trace(test);

    await test
      .client()
      .call(name)
      .catch(() => {});

    await eventually('the end hook', () => spans[0]?.ends.length);
    expect(spans).toHaveLength(1);
    expect(spans[0]).toMatchObject({ transport: RAP_TRANSPORT, target: `/default/${name}` });
    expect(spans[0]?.ends).toEqual([spans[0]]);
  });

  it('for a call whose client goes away', async () => {
    const started = new Gate();
    const finish = new Gate();
    @Controller()
    class WaitingController {
      @MessagePattern('wait') wait(): Promise<void> {
        started.open();
        return finish.opened;
      }
    }
    const test = await scope.serve([WaitingController]);
    const { spans } = trace(test);
    const raw = await RawSocket.open(test.port);
    raw.send([101, 5, { target: '/default/wait' }, null]);
    await started.opened;

    raw.destroy();
    await eventually('the end hook', () => spans[0]?.ends.length);
    finish.open();
    await eventually('the end of the handler', () => spans[0]?.doneSettled);

    expect(spans).toHaveLength(1);
    expect(spans[0]?.ends).toEqual([spans[0]]);
  });

  it('for a call that runs while the server closes', async () => {
    const started = new Gate();
    @Controller()
    class WaitingController {
      @MessagePattern('wait') wait(): Promise<never> {
        started.open();
        return never;
      }
    }
    const test = await scope.serve([WaitingController], { closeTimeoutMs: 20 });
    const { spans } = trace(test);
    const call = rejection(test.client().call('wait'));
    await started.opened;

    await test.server.close();

    expect(await call).toMatchObject({ name: 'ConnectionLostError' });
    expect(spans[0]?.ends).toEqual([spans[0]]);
  });

  it('for an event, around all its handlers', async () => {
    const finish = new Gate();
    const seen: unknown[] = [];
    const test = await (async (): Promise<ServedApp> => {
      @Controller()
      class EventController {
        @EventPattern('created') async first(): Promise<void> {
          seen.push(store().getStore());
          await finish.opened;
        }
        @EventPattern('created') second(): void {
          seen.push(store().getStore());
        }
      }
      return scope.serve([EventController]);
    })();
    const traced = trace(test);
    function store(): AsyncLocalStorage<Span> {
      return traced.store;
    }

    test.client().emit('created', 1);
    await eventually('both handlers', () => seen.length === 2);
    expect(traced.spans[0]?.ends).toEqual([]);
    finish.open();
    await eventually('the end hook', () => traced.spans[0]?.ends.length);

    expect(traced.spans).toHaveLength(1);
    expect(traced.spans[0]?.ends).toEqual([traced.spans[0]]);
    expect(seen).toEqual([traced.spans[0], traced.spans[0]]);
  });

  it('for an event that fails', async () => {
    @Controller()
    class EventController {
      @EventPattern('created') created(): never {
        throw new Error('x');
      }
    }
    const test = await scope.serve([EventController]);
    const { spans } = trace(test);

    test.client().emit('created', 1);
    await eventually('the end hook', () => spans[0]?.ends.length);
    await eventually('the end of the handler', () => spans[0]?.doneSettled);

    expect(spans).toHaveLength(1);
    expect(spans[0]?.ends).toEqual([spans[0]]);
  });

  it('not for a target that nobody handles', async () => {
    const test = await scope.serve([TracedController]);
    const { spans } = trace(test);

    await rejection(test.client().call('nobody'));

    expect(spans).toEqual([]);
  });
});

it('the handler and its Observable run inside the context of the start hook', async () => {
  const stores: { current?: AsyncLocalStorage<Span> } = {};
  const targetNow = (): string | undefined => stores.current?.getStore()?.target;
  @Controller()
  class StoreController {
    @MessagePattern('promise') async promise(): Promise<unknown> {
      await new Promise(setImmediate);
      return targetNow();
    }
    @UseInterceptors({ intercept: (_, next) => next.handle() })
    @MessagePattern('observable')
    async observable(): Promise<unknown> {
      await new Promise(setImmediate);
      return targetNow();
    }
  }
  const test = await scope.serve([StoreController]);
  stores.current = trace(test).store;
  const rap = test.client();

  expect(await Promise.all([rap.call('promise'), rap.call('observable')])).toEqual([
    '/default/promise',
    '/default/observable',
  ]);
});

it('done() settles when the message is done, so a hook may measure around it', async () => {
  const finish = new Gate();
  @Controller()
  class WaitingController {
    @UseInterceptors({ intercept: (_, next) => next.handle() })
    @MessagePattern('wait')
    wait(): Promise<void> {
      return finish.opened;
    }
  }
  const test = await scope.serve([WaitingController]);
  const { spans } = trace(test);
  const call = test.client().call('wait');
  await eventually('the start hook', () => spans.length);
  await new Promise(setImmediate);
  expect(spans[0]?.doneSettled).toBe(false);

  finish.open();
  await call;

  await eventually('done()', () => spans[0]?.doneSettled);
});

describe('a broken hook hurts nobody', () => {
  it('an end hook that throws does not take the answer away', async () => {
    const test = await scope.serve([TracedController]);
    test.server.setOnProcessingEndHook(() => {
      throw new Error('the end hook is broken');
    });
    const rap = test.client();

    expect(await rap.call('value', null, { timeoutMs: 1000 })).toBe(1);
    expect(await rap.call('observable', null, { timeoutMs: 1000 })).toBe(1);
    expect(await rejection(rap.call('rap-error', null, { timeoutMs: 1000 }))).toBeInstanceOf(ParseError);
    expect(test.log.lines.join('\n')).toContain('the end hook is broken');
  });

  it('an end hook that throws when the run timeout ends the call does not end the process', async () => {
    const test = await scope.serve([TracedController]);
    test.server.setOnProcessingEndHook(() => {
      throw new Error('the end hook is broken');
    });
    const rap = test.client();

    expect(await rejection(rap.call('slow', null, { timeoutMs: 1000 }))).toMatchObject({
      message: 'Call slow timeout',
    });
    expect(await rap.call('value', null, { timeoutMs: 1000 })).toBe(1);
  });

  it('an end hook that throws when the client disconnects does not end the process', async () => {
    const test = await scope.serve([TracedController]);
    let ends = 0;
    test.server.setOnProcessingEndHook(() => {
      ends += 1;
      throw new Error('the end hook is broken');
    });
    const raw = await RawSocket.open(test.port);
    raw.send([101, 5, { target: '/default/stuck' }, null]);
    await eventually('the call', () => test.server.stats().inFlight === 1);

    raw.destroy();

    await eventually('the end hook', () => ends === 1);
    expect(await test.client().call('void', null, { timeoutMs: 1000 })).toBe(null);
  });

  const starts: [string, () => unknown][] = [
    [
      'throws',
      () => {
        throw new Error('secret of the start hook');
      },
    ],
    ['rejects', () => Promise.reject(new Error('secret of the start hook'))],
  ];
  it.each(starts)('a start hook that %s fails the call, masked and logged', async (_, hook) => {
    const test = await scope.serve([TracedController]);
    test.server.setOnProcessingStartHook(hook);

    const error = await rejection(test.client().call('value', null, { timeoutMs: 1000 }));

    expect(error).toBeInstanceOf(ServerError);
    expect(error).toMatchObject({ status: 500, message: 'Internal server error' });
    expect(test.log.lines.join('\n')).toContain('secret of the start hook');
    expect(test.server.stats().inFlight).toBe(0);
  });

  it('a start hook that does not return the promise of done() is fine', async () => {
    const test = await scope.serve([TracedController]);
    test.server.setOnProcessingStartHook((_transport, _context, done) => {
      void done();
    });
    const rap = test.client();

    expect(await rap.call('observable')).toBe(1);
    expect(await rejection(rap.call('unknown-error'))).toBeInstanceOf(ServerError);
  });
});

describe('instrumentation finds the server', () => {
  it('as RPC target of the modules container, with the hooks of Server', async () => {
    const { app, server, client } = await scope.serve([TracedController]);
    const targets: unknown[] = [];
    const seen: unknown[] = [];
    app
      .get(ModulesContainer, { strict: false })
      .getRpcTargetRegistry<Server>()
      .subscribe((target) => {
        targets.push(target);
        target.setOnProcessingStartHook((transport, _, done) => {
          seen.push(String(transport));
          return done();
        });
      });

    expect(targets).toEqual([server]);
    await client().call('value');

    expect(seen).toEqual(['Symbol(rap)']);
  });

  it('as getTransportServer() of the application', async () => {
    const { app, server } = await scope.serve([TracedController]);
    expect((app as unknown as { getTransportServer(): unknown }).getTransportServer()).toBe(server);
  });
});

/** A dispatch hook that numbers the packets. */
const stamp = (packets: ReadPacket[] = []) => {
  return (packet: ReadPacket): void => {
    packets.push({ ...packet });
    Object.assign(packet, { metadata: { 'x-request-id': `id-${packets.length}` } });
  };
};

describe('the dispatch hook of the client', () => {
  @Controller()
  class MetadataController {
    @MessagePattern('metadata') metadata(@Ctx() ctx: RapContext): unknown {
      return ctx.getMetadata() ?? null;
    }
    @MessagePattern({ cmd: 'metadata' }) object(@Ctx() ctx: RapContext): unknown {
      return ctx.getMetadata() ?? null;
    }
    @EventPattern('created') created(@Payload() data: unknown, @Ctx() ctx: RapContext): void {
      events.push([data, ctx.target, ctx.getMetadata()]);
    }
  }
  const events: unknown[] = [];
  beforeEach(() => events.splice(0));

  const ways: [string, (client: RapClient) => Promise<unknown>][] = [
    ['call', (client) => client.call('metadata', { a: 1 })],
    ['send', (client) => firstValueFrom(client.send('metadata', { a: 1 }))],
  ];
  it.each(ways)('%s: sees pattern and data, and its metadata arrives', async (_, request) => {
    const { client } = await scope.serve([MetadataController]);
    const packets: ReadPacket[] = [];
    const rap = client();
    rap.setOnDispatchHook(stamp(packets));

    expect(await request(rap)).toEqual({ 'x-request-id': 'id-1' });
    expect(packets).toEqual([{ pattern: 'metadata', data: { a: 1 } }]);
  });

  it('runs once for each call, whatever its pattern', async () => {
    const { client } = await scope.serve([MetadataController]);
    const packets: ReadPacket[] = [];
    const rap = client();
    rap.setOnDispatchHook(stamp(packets));
    const source = rap.send('metadata', {});

    expect(await rap.call({ cmd: 'metadata' })).toEqual({ 'x-request-id': 'id-1' });
    expect(await firstValueFrom(source)).toEqual({ 'x-request-id': 'id-2' });
    expect(await firstValueFrom(source)).toEqual({ 'x-request-id': 'id-3' });
    expect(packets.map(({ pattern }) => pattern)).toEqual([{ cmd: 'metadata' }, 'metadata', 'metadata']);
  });

  it('emit: sees the event, and its metadata arrives', async () => {
    const { client } = await scope.serve([MetadataController]);
    const packets: ReadPacket[] = [];
    const rap = client();
    rap.setOnDispatchHook(stamp(packets));

    await lastValueFrom(rap.emit('created', 1));

    await eventually('the event', () => events.length);
    expect(events).toEqual([[1, '/default/created', { 'x-request-id': 'id-1' }]]);
    expect(packets).toEqual([{ pattern: 'created', data: 1 }]);
  });

  it('its metadata stands beside headers of the call', async () => {
    const { client } = await scope.serve([MetadataController]);
    const rap = client();
    rap.setOnDispatchHook(stamp());

    const seen = await rap.call('metadata', null, { header: { tenant: 'one', count: 2 } });

    expect(seen).toEqual({ 'x-request-id': 'id-1', tenant: 'one' });
  });

  it('metadata cannot redirect a call or an event', async () => {
    const { client, log } = await scope.serve([MetadataController]);
    const rap = client();
    rap.setOnDispatchHook((packet) => {
      Object.assign(packet, { metadata: { target: '/default/elsewhere', a: 'b' } });
    });

    expect(await rap.call('metadata')).toEqual({ a: 'b' });
    await lastValueFrom(rap.emit('created', 1));
    await rap.call('metadata');

    expect(log.lines).toEqual([]);
    await eventually('the event', () => events.length);
  });

  it('a hook that throws fails that call or event, and throws at nobody', async () => {
    const { client } = await scope.serve([MetadataController]);
    const rap = client();
    rap.setOnDispatchHook(() => {
      throw new Error('broken hook');
    });

    await expect(rap.call('metadata')).rejects.toThrow('broken hook');
    await expect(firstValueFrom(rap.send('metadata', 1))).rejects.toThrow('broken hook');
    let event: Observable<unknown> | undefined;
    expect(() => (event = rap.emit('created', 1))).not.toThrow();
    await expect(lastValueFrom(event as Observable<unknown>)).rejects.toThrow('broken hook');
  });

  it('without a hook there is no metadata', async () => {
    const { client } = await scope.serve([MetadataController]);
    expect(await within('the answer', client().call('metadata'))).toBe(null);
  });
});

it('an own transport id is what both hooks get', async () => {
  const own = Symbol('MINE');
  const served = await scope.serve([TracedController]);
  const told: unknown[] = [];
  served.server.setTransportId(own);
  served.server.setOnProcessingStartHook((transport, _context, done) => {
    told.push(['start', transport]);
    return done();
  });
  served.server.setOnProcessingEndHook((transport) => {
    told.push(['end', transport]);
  });

  await served.client().call('value');
  expect(told).toEqual([
    ['start', own],
    ['end', own],
  ]);
});
