import 'reflect-metadata';
import {
  type ArgumentsHost,
  type CallHandler,
  Catch,
  Controller,
  type ExecutionContext,
  Injectable,
  UseFilters,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { concatMap, defer, from, Observable, of, tap, throwError } from 'rxjs';
import {
  AuthError,
  ChannelPattern,
  MessageMiddleware,
  RapChannel,
  RapContext,
  RapServer,
} from '../../../lib/index.js';
import { eventually, Gate, rejection, testScope, turn } from '../../helpers/async.js';
import { collect } from '../../helpers/streams.js';

const scope = testScope();
let seen: string[];
let gate: Gate;

beforeEach(() => {
  seen = [];
  gate = new Gate();
});

/** Notes which call the running code belongs to. It knows nothing of the call. */
function note(where: string): void {
  const current = RapContext.current();
  seen.push(`${where}: ${current ? `${current.name} ${String(current.header['tag'])}` : 'none'}`);
}

async function deep(where: string): Promise<void> {
  await turn();
  note(where);
}

@Injectable()
class Guard {
  canActivate(): boolean {
    note('guard');
    return true;
  }
}

@Injectable()
class Interceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    note('before');
    return next.handle().pipe(tap({ next: () => note('after') }));
  }
}

const pipe = {
  transform: (value: unknown): unknown => {
    note('pipe');
    return value;
  },
};

@Catch()
class Filter {
  catch(error: unknown, _host: ArgumentsHost): Observable<never> {
    note('filter');
    return throwError(() => error);
  }
}

@Controller()
class Contexts {
  @UseGuards(Guard)
  @UseInterceptors(Interceptor)
  @MessagePattern('unary')
  async unary(@Payload(pipe) _body: unknown, @Ctx() ctx: RapContext): Promise<boolean> {
    note('handler');
    await deep('deep');
    return RapContext.current() === ctx;
  }

  @UseFilters(Filter)
  @MessagePattern('fails')
  async fails(): Promise<never> {
    await turn();
    throw new AuthError('no');
  }

  @MessagePattern('hold')
  async hold(): Promise<void> {
    await gate.opened;
    note('held');
  }

  @MessagePattern('items')
  async *items(@Payload() n: number): AsyncGenerator<number> {
    try {
      for (let i = 0; i < n; i++) {
        await deep(`item ${i}`);
        yield i;
      }
    } finally {
      note('finally');
      await deep('after finally');
    }
  }

  @MessagePattern('observed')
  observed(): Observable<number> {
    return defer(() => {
      note('subscribed');
      return from([1, 2]);
    }).pipe(
      concatMap(async (it) => {
        await deep(`value ${it}`);
        return it;
      }),
    );
  }

  @MessagePattern('left')
  left(): Observable<number> {
    return new Observable((observer) => {
      observer.next(1);
      observer.next(2);
      return () => note('unsubscribed');
    });
  }

  @ChannelPattern('talk')
  async talk(@Payload() channel: RapChannel<string, string>): Promise<void> {
    for await (const line of channel) {
      await deep(`line ${line}`);
      if (line === 'end') break;
    }
    note('talked');
  }

  @EventPattern('event')
  async first(@Ctx() ctx: RapContext): Promise<void> {
    await turn();
    seen.push(`first: ${String(RapContext.current() === ctx)}`);
  }

  @EventPattern('event', { timeoutMs: 5000 })
  async second(@Ctx() ctx: RapContext): Promise<void> {
    await turn();
    seen.push(`second: ${String(RapContext.current() === ctx)}`);
  }
}

const tag = (name: string): { header: Record<string, string> } => ({ header: { tag: name } });

it('is the context of the call in guards, interceptors, pipes, the handler, and what they call', async () => {
  const client = (await scope.serve([Contexts])).client();
  expect(await client.call('unary', 1, tag('a'))).toBe(true);
  expect(seen).toEqual(
    ['guard', 'before', 'pipe', 'handler', 'deep', 'after'].map((where) => `${where}: unary a`),
  );
});

it('in filters, and in middleware for messages', async () => {
  class Around extends MessageMiddleware {
    async use(_: unknown, next: () => Promise<unknown>): Promise<unknown> {
      note('in');
      try {
        return await next();
      } finally {
        note('out');
      }
    }
  }
  const client = (await scope.serve([Contexts], { middleware: [new Around()] })).client();
  await rejection(client.call('fails', 1, tag('a')));
  expect(seen).toEqual(['in: fails a', 'filter: fails a', 'out: fails a']);
});

it('in a generator: at each item, and at its end, be it early', async () => {
  const client = (await scope.serve([Contexts])).client();
  await collect(client.stream('items', 2, tag('a')));
  const steps = ['item 0', 'item 1', 'finally', 'after finally'];
  expect(seen).toEqual(steps.map((where) => `${where}: items a`));

  seen = [];
  for await (const item of client.stream('items', 1000, tag('b'))) if (item === 0) break;
  await eventually('the end', () => seen.includes('after finally: items b'));
  expect(seen.filter((line) => !line.endsWith(': items b'))).toEqual([]);
});

it('in Observables that the transport subscribes to, and when it unsubscribes', async () => {
  const client = (await scope.serve([Contexts])).client();
  await collect(client.stream('observed', null, tag('a')));
  expect(seen).toEqual(['subscribed', 'value 1', 'value 2'].map((where) => `${where}: observed a`));
  for await (const _ of client.stream('left', null, tag('b'))) break;
  await eventually('the end', () => seen.includes('unsubscribed: left b'));
});

it('in the handler of a channel, at each message', async () => {
  const client = (await scope.serve([Contexts])).client();
  const channel = await client.channel('talk', tag('a'));
  for (const line of ['one', 'end']) await channel.write(line);
  await channel.closed;
  expect(seen).toEqual(['line one', 'line end', 'talked'].map((where) => `${where}: talk a`));
});

it('is that of the handler if an event has several', async () => {
  const client = (await scope.serve([Contexts])).client();
  client.emit('event', 1);
  await eventually('both', () => seen.length === 2);
  expect(seen.toSorted()).toEqual(['first: true', 'second: true']);
});

it('calls at the same time have their own, and there is none outside', async () => {
  const client = (await scope.serve([Contexts])).client();
  const tags = ['a', 'b', 'c'];
  const calls = tags.map((name) => client.call('hold', null, tag(name)));
  await eventually('all run', () => client.stats().inFlight === 3);
  note('outside');
  gate.open();
  await Promise.all(calls);
  note('outside');
  expect(seen.toSorted()).toEqual([
    ...tags.map((name) => `held: hold ${name}`),
    'outside: none',
    'outside: none',
  ]);
});

it('processors have none: they work before the handler', async () => {
  const processor = { processRequest: () => note('processor') };
  const client = (await scope.serve([Contexts], { processors: [processor] })).client();
  await client.call('unary', 1, tag('a'));
  expect(seen[0]).toBe('processor: none');
});

it('is that of the server, also in what a client of the handler calls', async () => {
  const inner = await scope.serve([Contexts]);
  const innerClient = inner.client();
  @Controller()
  class Outer {
    @MessagePattern('outer')
    async outer(): Promise<void> {
      await innerClient.call('unary', 1, tag('inner'));
      note('outer');
      await innerClient.withSession(() => note('in session'));
    }
  }
  const client = (await scope.serve([Outer])).client();
  await client.call('outer', 1, tag('outer'));
  expect(seen.slice(-2)).toEqual(['outer: outer outer', 'in session: outer outer']);
  expect(seen.slice(0, -2).every((line) => line.endsWith('unary inner'))).toBe(true);
});

describe('ids', () => {
  it('name the call: its connection, its number there, and the request of the caller', async () => {
    @Controller()
    class Ids {
      @MessagePattern('ids')
      ids(@Ctx() { connectionId, correlationId, requestId }: RapContext): Observable<unknown> {
        return of({ connectionId, correlationId, requestId });
      }
    }
    const test = await scope.serve([Ids]);
    const first = await test.client().call<Record<string, unknown>>('ids');
    const { connectionId, correlationId } = first;
    expect(connectionId).toMatch(/^[\w-]+$/);
    expect(first['requestId']).toBe(`${String(connectionId)}:${String(correlationId)}`);

    const other = test.client();
    const second = await other.call<Record<string, unknown>>('ids', null, {
      header: { 'x-request-id': 'order-7:a_B.1' },
    });
    expect(second['requestId']).toBe('order-7:a_B.1');
    expect(second['connectionId']).not.toBe(connectionId);

    for (const bad of ['', 'line\nbreak', 'x'.repeat(129), 7, { a: 1 }]) {
      const third = await other.call<Record<string, unknown>>('ids', null, {
        header: { 'x-request-id': bad },
      });
      expect(third['requestId']).toBe(`${String(third['connectionId'])}:${String(third['correlationId'])}`);
    }
  });
});

it('the option requestContext is refused if it is no boolean', () => {
  expect(() => new RapServer({ requestContext: 1 as never })).toThrow(
    new RangeError('requestContext must be true or false, got 1'),
  );
});
