import net from 'node:net';
import {
  Injectable,
  Module,
  UseInterceptors,
  Controller,
  type NestInterceptor,
  type CallHandler,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type AsyncMicroserviceOptions, MessagePattern, Payload } from '@nestjs/microservices';
import { map, type Observable } from 'rxjs';
import {
  AuthError,
  ConnectionMiddleware,
  MessageMiddleware,
  RapClient,
  RapServer,
  type ProcessorContext,
  type RapConnection,
  type RapRequest,
} from '../../lib/index.js';
import { eventually, Gate, rejection, testScope, within } from '../helpers/async.js';
import { DECLARE, RawSocket } from '../helpers/raw-socket.js';
import { all, forget, later, never, Recorder, seen, Things } from './handlers.js';

const scope = testScope();
beforeEach(forget);

/** Message middleware of one function. */
class Around extends MessageMiddleware {
  constructor(readonly work: MessageMiddleware['use']) {
    super();
  }
  use(request: RapRequest, next: () => Promise<unknown>, context: ProcessorContext): unknown {
    return this.work(request, next, context);
  }
}
/** Connection middleware of one function. */
class Door extends ConnectionMiddleware {
  constructor(readonly work: ConnectionMiddleware['use']) {
    super();
  }
  use(connection: RapConnection, next: () => Promise<void>): void | Promise<void> {
    return this.work(connection, next);
  }
}

@Injectable()
class Doubling implements NestInterceptor {
  intercept(_context: unknown, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((value: number) => value * 2));
  }
}
@Controller()
class Intercepted {
  @UseInterceptors(Doubling)
  @MessagePattern('doubled')
  doubled(@Payload() value: number): number {
    return value;
  }
}

describe('message middleware', () => {
  it('runs around the handler, the first outermost, and inside the processors', async () => {
    const log: string[] = [];
    const noting = (name: string): Around =>
      new Around(async (request, next) => {
        log.push(`${name} in ${String(request.body)}`);
        const result = await next();
        log.push(`${name} out ${String(result)}`);
        return result;
      });
    const test = await scope.serve([Things], {
      middleware: [noting('m1'), noting('m2')],
      processors: [new Recorder('s', log)],
    });
    expect(await test.client().call('echo', 7)).toBe(7);
    expect(log).toEqual([
      's enter call',
      's request call 7',
      'm1 in 7',
      'm2 in 7',
      'm2 out 7',
      'm1 out 7',
      's response call 7',
      's exit',
    ]);
  });

  it('changes request and answer, and may answer itself', async () => {
    const test = await scope.serve([Things, Intercepted], {
      middleware: [
        new Around(async (request, next) => {
          if (request.body === 'cached') return 'from the cache';
          request.body = Number(request.body) + 1;
          request.header['by'] = 'middleware';
          return { result: await next() };
        }),
      ],
    });
    const client = test.client();
    expect(await client.call('echo', 1, { header: { mine: 1 } })).toEqual({ result: 2 });
    expect(seen.headers).toEqual([{ target: '/default/echo', mine: 1, by: 'middleware' }]);
    expect(await client.call('doubled', 4)).toEqual({ result: 10 });
    expect(await client.call('echo', 'cached')).toBe('from the cache');
    expect(seen.runs).toBe(1);
  });

  it('shares its context with the processors', async () => {
    const contexts: unknown[] = [];
    const note = (_message: unknown, context: ProcessorContext): void => void contexts.push(context);
    const middleware = new Around((request, next, context) => {
      contexts.push(context);
      expect(request.bytes).toBeGreaterThan(10);
      return next();
    });
    const test = await scope.serve([Things], {
      middleware: [middleware],
      processors: [{ processRequest: note }],
    });
    await test.client({ metadata: { app: 'shop' } }).call('echo', 1);
    expect(new Set(contexts).size).toBe(1);
    const alone = await scope.serve([Things], { middleware: [middleware] });
    await alone.client({ metadata: { app: 'shop' } }).call('echo', 1);
    expect(contexts.at(-1)).toMatchObject({ side: 'server', kind: 'call', target: '/default/echo' });
    expect((contexts.at(-1) as ProcessorContext).metadata).toEqual({ app: 'shop' });
  });

  it('sees the error that the caller gets, and may replace or swallow it', async () => {
    const errors: unknown[] = [];
    const test = await scope.serve([Things], {
      middleware: [
        new Around(async (request, next) => {
          try {
            return await next();
          } catch (error) {
            errors.push(error);
            if (request.body === 'swallow') return 'all is well';
            throw error;
          }
        }),
      ],
    });
    const client = test.client();
    expect(await rejection(client.call('refuse'))).toMatchObject({
      name: 'AuthError',
      details: { why: 'because' },
    });
    expect(await rejection(client.call('break'))).toMatchObject({
      name: 'ServerError',
      message: 'Internal server error',
    });
    expect(await client.call('break', 'swallow')).toBe('all is well');
    expect(errors).toMatchObject([
      { name: 'AuthError', message: 'no' },
      { name: 'ServerError', message: 'Internal server error' },
      { name: 'ServerError' },
    ]);
  });

  it('that throws answers with its error, masked unless it is one of rap', async () => {
    for (const late of [false, true]) {
      for (const [thrown, expected] of [
        [new AuthError('not you'), { name: 'AuthError', message: 'not you' }],
        [new TypeError('a secret'), { name: 'ServerError', message: 'Internal server error' }],
        [undefined, { name: 'ServerError' }],
      ] as const) {
        const fail = (): never => {
          throw thrown;
        };
        const test = await scope.serve([Things], {
          middleware: [new Around(() => (late ? later(fail) : fail()))],
        });
        expect(await rejection(test.client().call('echo', 1))).toMatchObject(expected);
        await eventually('nothing runs', () => test.server.stats().inFlight === 0);
        if (thrown instanceof TypeError) expect(test.log.lines.join()).toContain('a secret');
      }
    }
    expect(seen.runs).toBe(0);
  });

  it('that calls next twice gets an error, and the handler runs once', async () => {
    for (const use of [
      async (_request: RapRequest, next: () => Promise<unknown>) => (await next(), next()),
      (_request: RapRequest, next: () => Promise<unknown>) => Promise.all([next(), next()]),
      (_request: RapRequest, next: () => Promise<unknown>) => (void next(), next()),
    ]) {
      const test = await scope.serve([Things], { middleware: [new Around(use)] });
      expect(await rejection(test.client().call('echo', 1))).toMatchObject({ name: 'ServerError' });
      expect(seen.runs).toBe(1);
      expect(test.log.lines.join()).toContain('next() was called twice');
      forget();
    }
  });

  it('that never calls next answers without the handler', async () => {
    const test = await scope.serve([Things], { middleware: [new Around(() => undefined)] });
    expect(await test.client().call('echo', 1)).toBeNull();
    expect(seen.runs).toBe(0);
  });

  it('that hangs is cut off by the run timeout, before and after next', async () => {
    for (const use of [
      never,
      async (_request: RapRequest, next: () => Promise<unknown>) => (await next(), never()),
    ]) {
      const test = await scope.serve([Things], { runTimeoutMs: 50, middleware: [new Around(use)] });
      expect(await rejection(test.client().call('echo', 1))).toMatchObject({ remoteName: 'RpcRunTimeError' });
    }
  });

  it("that does not wait for next answers, but the slot is the handler's until that ends", async () => {
    const failures: unknown[] = [];
    const test = await scope.serve([Things], {
      middleware: [
        new Around((request, next) => {
          next().catch((error: unknown) => failures.push(error));
          return request.target;
        }),
        new Around((_request, next) => {
          void next(); // and its rejection harms nobody
          return 'inner';
        }),
      ],
    });
    const client = test.client();
    expect(await client.call('refuse')).toBe('/default/refuse');
    const gate = new Gate();
    test.server.addHandler('slow', () => gate.opened as never);
    expect(await client.call('slow')).toBe('/default/slow');
    expect(test.server.stats().inFlight).toBe(1);
    gate.open();
    await eventually('nothing runs', () => test.server.stats().inFlight === 0);
  });

  it('does not start a handler for a call that nobody waits for any more', async () => {
    const gate = new Gate();
    const outcomes: unknown[] = [];
    const test = await scope.serve([Things], {
      middleware: [
        new Around(async (_request, next) => {
          await gate.opened;
          return next().catch((error: unknown) => {
            outcomes.push(error);
            throw error;
          });
        }),
      ],
      runTimeoutMs: 30,
    });
    await rejection(test.client().call('echo', 1));
    gate.open();
    await eventually('it has ended', () => test.server.stats().inFlight === 0);
    expect(outcomes).toMatchObject([{ message: 'Call slow timeout' }]);
    expect(seen.runs).toBe(0);
  });

  it('that calls next after its answer starts no handler beside the limits, and is told why', async () => {
    const sent = new Gate();
    const nexts: (() => Promise<unknown>)[] = [];
    const test = await scope.serve([Things], {
      processors: [{ processResponse: () => sent.opened }],
      middleware: [new Around((request, next) => (nexts.push(next), request.body))],
    });
    const client = test.client();
    const call = client.call('echo', 1);
    await eventually('the answer is with the processors', () => nexts.length === 1);
    const message = '/default/echo is answered: next() comes too late';
    await later(() => {}); // it has returned
    expect(await rejection(within('the refusal', nexts[0]?.() as Promise<unknown>))).toMatchObject({
      message,
    });
    sent.open();
    expect(await call).toBe(1);
    expect(await client.call('echo', 2)).toBe(2); // this one has left
    expect(await rejection(within('the refusal', nexts[1]?.() as Promise<unknown>))).toMatchObject({
      message,
    });
    expect(seen.runs).toBe(0);
  });

  it('wraps events and streams, too', async () => {
    const targets: string[] = [];
    const test = await scope.serve([Things], {
      middleware: [
        new Around((request, next) => {
          targets.push(`${request.kind} ${request.target}`);
          return next();
        }),
      ],
    });
    const client = test.client();
    client.emit('happened', 1);
    await eventually('the event is handled', () => seen.events.length === 1);
    expect(await all(client.stream('count', 3))).toEqual([1, 2, 3]);
    expect(targets).toEqual(['event /default/happened', 'channel /default/count']);
    const values: unknown[] = [];
    await new Promise<void>((resolve) =>
      client.send('count', 3).subscribe({ next: (it) => values.push(it), complete: resolve }),
    );
    expect(values).toEqual([1, 2, 3]);
    expect(targets).toEqual(['event /default/happened', 'channel /default/count', 'call /default/count']);
  });
});

const LONG = 'x'.repeat(5_000_000);
const CUT = 'x'.repeat(1024);

describe('connection middleware', () => {
  it('runs around the connection, before anything is read, the first outermost', async () => {
    const log: string[] = [];
    const noting = (name: string): Door =>
      new Door(async (connection, next) => {
        log.push(`${name} in ${connection.peer.address} ${JSON.stringify(connection.metadata)}`);
        await next();
        log.push(`${name} out ${JSON.stringify(connection.metadata)}`);
      });
    const test = await scope.serve([Things], { middleware: [noting('d1'), noting('d2')] });
    const client = test.client({ metadata: { app: 'shop' } });
    expect(await client.call('echo', 1)).toBe(1);
    expect(log).toEqual(['d1 in 127.0.0.1 {}', 'd2 in 127.0.0.1 {}']);
    client.close();
    await eventually('it is over', () => log.length === 4);
    expect(log.slice(2)).toEqual(['d2 out {"app":"shop"}', 'd1 out {"app":"shop"}']);
  });

  it('shares the connection with the processors of its calls', async () => {
    const connections: RapConnection[] = [];
    const test = await scope.serve([Things], {
      middleware: [
        new Door((connection, next) => {
          connections.push(connection);
          connection.state.set('since', 1);
          return next();
        }),
      ],
      processors: [{ processRequest: (_request, { connection }) => void connections.push(connection) }],
    });
    const client = test.client();
    await client.call('echo', 1);
    expect(connections[0]).toBe(connections[1]);
    expect(connections[1]?.state.get('since')).toBe(1);
    expect(connections[1]?.id).toMatch(/^[0-9a-f-]{36}$/);
    let closed = false;
    void connections[0]?.closed.then(() => (closed = true));
    await client.call('echo', 1);
    expect(closed).toBe(false);
    client.close();
    await eventually('it is told', () => closed);
    await within('asked later', connections[0]?.closed as Promise<void>);
  });

  it.each([
    ['returns without next', () => undefined, 'the connection was refused'],
    ['closes with a reason', (connection: RapConnection) => connection.close('not today'), 'not today'],
    [
      'throws an error of rap',
      () => {
        throw new AuthError('who are you');
      },
      'who are you',
    ],
    ['closes with a reason that no frame holds', (connection: RapConnection) => connection.close(LONG), CUT],
    [
      'throws an error that no frame holds',
      () => {
        throw new AuthError(LONG);
      },
      CUT,
    ],
    [
      'throws anything',
      () => {
        throw new TypeError('a secret');
      },
      'the connection was refused',
    ],
    [
      'rejects',
      () =>
        later(() => {
          throw new TypeError('a secret');
        }),
      'the connection was refused',
    ],
    [
      'throws nothing at all',
      () => {
        throw undefined as never;
      },
      'the connection was refused',
    ],
  ] as const)('that %s closes it: CLOSE and the reason, and gone soon', async (_what, use, reason) => {
    const test = await scope.serve([Things], { middleware: [new Door(use)] });
    const socket = await RawSocket.connect(test.port);
    socket.send(DECLARE);
    await eventually('the end', () => socket.closed);
    expect(socket.frames).toEqual([[203, expect.any(Number), { target: '/_event/CLOSE' }, reason]]);
    await eventually('it is gone', () => test.server.stats().connections === 0);
    expect(test.server.stats().refusedConnections).toBe(1);
    const client = test.client({ reconnect: false });
    const error = await rejection(client.call('echo', 1));
    expect(error).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
    expect(error.message).toContain(reason.slice(0, 256));
    const secrets = test.log.lines.filter((line) => line.includes('a secret'));
    expect(secrets).toHaveLength(use.toString().includes('a secret') ? 2 : 0);
  });

  it('that hangs is cut off by the time for DECLARE', async () => {
    const test = await scope.serve([Things], {
      limits: { declareTimeoutMs: 50 },
      middleware: [new Door(never)],
    });
    const socket = await RawSocket.connect(test.port);
    socket.send(DECLARE);
    await eventually('the end', () => socket.closed);
    expect(socket.frames).toEqual([]);
  });

  it('that waits keeps the bytes of the client for later', async () => {
    const gate = new Gate();
    const test = await scope.serve([Things], {
      middleware: [new Door(async (_connection, next) => (await gate.opened, next()))],
    });
    const client = test.client();
    const call = client.call('echo', 1);
    await eventually('it waits', () => test.server.stats().connections === 1);
    gate.open();
    expect(await call).toBe(1);
  });

  it('that calls next twice, or throws after it, closes the connection', async () => {
    for (const use of [
      (_connection: RapConnection, next: () => Promise<void>) => (void next(), next()),
      (_connection: RapConnection, next: () => Promise<void>) => {
        void next();
        return later(() =>
          later(() => {
            throw new AuthError('changed my mind');
          }),
        );
      },
    ]) {
      const test = await scope.serve([Things], { middleware: [new Door(use)] });
      const socket = await RawSocket.connect(test.port);
      await eventually('the end', () => socket.closed);
      expect(socket.frames.at(-1)?.[2]).toEqual({ target: '/_event/CLOSE' });
      await eventually('it is gone', () => test.server.stats().connections === 0);
    }
  });

  it('that does not wait for next leaves the connection served', async () => {
    const test = await scope.serve([Things], { middleware: [new Door((_connection, next) => void next())] });
    const client = test.client();
    expect(await client.call('echo', 1)).toBe(1);
    expect(await client.call('echo', 2)).toBe(2);
  });

  it('learns that a client has reset its connection while it waited', async () => {
    const entered = new Gate<RapConnection>();
    const test = await scope.serve([Things], {
      middleware: [new Door((connection) => (entered.open(connection), never()))],
    });
    const socket = net.connect(test.port, '127.0.0.1').on('error', () => {});
    const connection = await entered.opened;
    socket.resetAndDestroy();
    await within('the end', connection.closed);
    expect(test.server.stats().connections).toBe(0);
  });

  it('does not keep a server from shutting down', async () => {
    const entered = new Gate();
    const test = await scope.serve([Things], { middleware: [new Door(() => (entered.open(), never()))] });
    const socket = await RawSocket.connect(test.port);
    await entered.opened;
    await within('the end', test.close());
    await eventually('the end', () => socket.closed);
  });

  it('goes through a Unix socket with the path as its address', async () => {
    const addresses: string[] = [];
    const path = `/tmp/rap-${process.pid}-door.sock`;
    await scope.serve([Things], {
      path,
      middleware: [new Door((connection, next) => (addresses.push(connection.peer.address), next()))],
    });
    const client = new RapClient({ path });
    scope.defer(() => client.close());
    expect(await client.call('echo', 1)).toBe(1);
    expect(addresses).toEqual([path]);
  });
});

const portOf = (server: RapServer | undefined): number =>
  (server?.address() as net.AddressInfo | undefined)?.port ?? 0;
const make = (options: object) => (): RapServer => new RapServer(options);

describe('what is loaded', () => {
  it('must be middleware, each once, also across the two lists', () => {
    const door = new Door(() => {});
    const around = new Around(() => {});
    expect(make({ middleware: [door, around, door] })).toThrow('the same Door is loaded twice');
    expect(make({ middleware: [Door] })).toThrow('middleware[0] is the class Door: pass an instance of it');
    expect(make({ middleware: [{ use: () => {} }] })).toThrow(
      "middleware[0].scope must be 'connection' or 'message', got undefined",
    );
    expect(make({ middleware: [{ scope: 'message' }] })).toThrow('middleware[0] has none of the methods use');
    const both = { scope: 'message', use: () => {}, processRequest: () => {} };
    expect(make({ middleware: [both], processors: [both] })).toThrow('the same Object is loaded twice');
    expect(make({ middleware: [door, around, new Door(() => {})] })).not.toThrow();
  });

  it('may be providers of Nest', async () => {
    @Injectable()
    class Greeting {
      text = 'hello';
    }
    @Injectable()
    class Greeter extends MessageMiddleware {
      constructor(private readonly greeting: Greeting) {
        super();
      }
      async use(_request: RapRequest, next: () => Promise<unknown>): Promise<unknown> {
        return `${this.greeting.text} ${String(await next())}`;
      }
    }
    Reflect.defineMetadata('design:paramtypes', [Greeting], Greeter);
    class App {}
    Module({ controllers: [Things], providers: [Greeting, Greeter] })(App);
    let server: RapServer | undefined;
    const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(App, {
      logger: false,
      useFactory: (greeter: Greeter) => {
        server = new RapServer({ host: '127.0.0.1', port: 0, middleware: [greeter] });
        return { strategy: server };
      },
      inject: [Greeter],
    });
    await app.listen();
    scope.defer(() => app.close());
    const client = new RapClient({ host: '127.0.0.1', port: portOf(server) });
    scope.defer(() => client.close());
    expect(await client.call('echo', 'world')).toBe('hello world');
  });
});
