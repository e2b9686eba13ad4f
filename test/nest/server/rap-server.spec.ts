import 'reflect-metadata';
import net from 'node:net';
import { Controller, Logger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, RpcException, Server } from '@nestjs/microservices';
import { firstValueFrom, of } from 'rxjs';
import {
  ConnectionLostError,
  RAP_TRANSPORT,
  RapClient,
  RapServer,
  RapStatus,
  RegisteredError,
  type RapServerOptions,
} from '../../../lib/index.js';
import { RecordingLogger } from '../../helpers/app.js';
import { eventually, Gate, rejection, testScope, within } from '../../helpers/async.js';
import { EventPattern } from '../../helpers/event-pattern.js';
import { RawSocket } from '../../helpers/raw-socket.js';
import { freePort } from '../../helpers/ports.js';

const scope = testScope();
// servers without an application log too
beforeEach(() => Logger.overrideLogger(new RecordingLogger()));

@Controller()
class EchoController {
  @MessagePattern('echo') echo(@Payload() data: unknown): unknown {
    return data;
  }
  @MessagePattern('boom') boom(): never {
    throw new TypeError('boom');
  }
  @EventPattern('tick') tick(): void {}
}
@Module({ controllers: [EchoController] })
class EchoModule {}

/** A server without an application; closes with the test. */
function plainServer(options: RapServerOptions = {}): RapServer {
  const server = new RapServer({ host: '127.0.0.1', port: 0, closeTimeoutMs: 500, ...options });
  scope.defer(() => server.close());
  return server;
}

const listen = (server: RapServer): Promise<unknown[]> =>
  new Promise((resolve) => server.listen((...args) => resolve(args)));

function clientOf(server: RapServer): RapClient {
  const { port } = server.address() as net.AddressInfo;
  const client = new RapClient({ host: '127.0.0.1', port });
  scope.defer(() => client.close());
  return client;
}

/** A microservice of this strategy that is not listening yet. */
async function microservice(
  server: RapServer,
  log = new RecordingLogger(),
): Promise<Awaited<ReturnType<typeof NestFactory.createMicroservice>>> {
  const app = await NestFactory.createMicroservice(EchoModule, { strategy: server, logger: log });
  scope.defer(() => app.close());
  return app;
}

/** Occupies a port of 127.0.0.1 for the test. */
async function occupiedPort(): Promise<number> {
  const blocker = net.createServer();
  await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
  scope.defer(() => new Promise((resolve) => blocker.close(resolve)));
  return (blocker.address() as net.AddressInfo).port;
}

describe('the strategy RapServer', () => {
  it('is a Server of Nest', () => {
    expect(new RapServer()).toBeInstanceOf(Server);
  });

  it('its transportId is a symbol with the description rap, shared by all copies of the package', () => {
    const server = new RapServer();
    expect(server.transportId).toBe(RAP_TRANSPORT);
    expect(server.transportId).toBe(Symbol.for('rap'));
    expect(server.transportId.toString()).toBe('Symbol(rap)');
    expect(server.transportId.description).toBe('rap');
  });

  it('opens no socket when it is made', () => {
    const server = new RapServer({ port: 0 });
    expect(server.address()).toBe(null);
    expect(() => server.unwrap()).toThrow('listen');
  });

  it.each<[string, object]>([
    ['limits.nothing', { limits: { nothing: 1 } }],
    ['limits.maxConnections', { limits: { maxConnections: -1 } }],
    ['keepAlive.intervalMs', { keepAlive: { intervalMs: 'x' } }],
    ['runTimeoutMs', { runTimeoutMs: 0 }],
    ['runTimeoutMs', { runTimeoutMs: Number.NaN }],
    ['runTimeoutMs', { runTimeoutMs: '500' }],
    ['closeTimeoutMs', { closeTimeoutMs: -1 }],
    ['closeTimeoutMs', { closeTimeoutMs: Number.NaN }],
  ])('refuses a wrong option, and names it: %s', (name, options) => {
    expect(() => new RapServer(options)).toThrow(RangeError);
    expect(() => new RapServer(options)).toThrow(name);
  });

  it.each<[string, (data: unknown) => unknown]>([
    ['a promise', (data) => Promise.resolve(data)],
    ['a promise of an Observable', (data) => Promise.resolve(of(data))],
    ['a value', (data) => data],
    ['an Observable', (data) => of(data)],
    ['undefined', () => {}],
  ])('serves a handler that was added by hand and gives %s', async (what, handler) => {
    const server = plainServer();
    server.addHandler('by-hand', handler as never);
    await listen(server);

    expect(await clientOf(server).call('by-hand', 1)).toBe(what === 'undefined' ? null : 1);
  });

  it('getHandlers and getHandlerByPattern know the handlers', async () => {
    const server = plainServer();
    await (await microservice(server)).listen();

    expect(server.getHandlers().size).toBe(3);
    expect(server.getHandlerByPattern('echo')).toBeInstanceOf(Function);
    expect(server.getHandlerByPattern('/default/echo')).toBe(server.getHandlerByPattern('echo'));
    expect(server.getHandlerByPattern('nobody')).toBe(null);
    expect(server.getHandlerByPattern('')).toBe(null);
    expect(server.getHandlerByPattern('x'.repeat(300))).toBe(null);
    expect(server.getHandlerByPattern('//')).toBe(null);
  });
});

describe('listen()', () => {
  it('resolves with the address', async () => {
    const server = plainServer();
    const app = await microservice(server);
    const info: unknown = await app.listen();
    expect(info).toMatchObject({ address: '127.0.0.1', family: 'IPv4', port: expect.any(Number) });
    expect(info).toEqual(server.address());
  });

  it('rejects when the port is taken, once, with the code of Node; the application can close', async () => {
    const port = await occupiedPort();
    const server = plainServer({ port });
    const app = await microservice(server);

    expect(await rejection(app.listen())).toMatchObject({ code: 'EADDRINUSE' });
    const again = await listen(server);
    expect(again).toEqual([expect.objectContaining({ code: 'EADDRINUSE' })]);
    expect(server.address()).toBe(null);
    await app.close();
  });

  it('may be tried again after it failed', async () => {
    const blocker = net.createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
    const { port } = blocker.address() as net.AddressInfo;
    const server = plainServer({ port });
    const app = await microservice(server);
    await rejection(app.listen());

    await new Promise((resolve) => blocker.close(resolve));
    await app.listen();

    expect(await clientOf(server).call('echo', 1)).toBe(1);
  });

  it('calls back once with null and the address', async () => {
    const server = plainServer();
    const seen: unknown[] = [];
    server.listen((...args) => seen.push(args));
    await eventually('the callback', () => seen.length);
    await new Promise(setImmediate);
    expect(seen).toEqual([[null, server.address()]]);
  });

  it('rejects on a server that listens already, and leaves that alone', async () => {
    const server = plainServer();
    await listen(server);
    const address = server.address();
    const first = server.unwrap();
    scope.defer(() => first.close());

    const [error] = await listen(server);

    expect(error).toBeInstanceOf(Error);
    expect(server.address()).toEqual(address);
    server.addHandler('echo', (data: unknown) => Promise.resolve(data));
    expect(await clientOf(server).call('echo', 1)).toBe(1);
    await server.close();
    expect(await rejection(RawSocket.connect((address as net.AddressInfo).port))).toMatchObject({
      code: 'ECONNREFUSED',
    });
  });

  it('an error of beforeStart fails it, before the port is open', async () => {
    const server = plainServer({
      events: { beforeStart: () => Promise.reject(new Error('no database')) },
    });
    const app = await microservice(server);

    await expect(app.listen()).rejects.toThrow('no database');
    expect(server.address()).toBe(null);
  });

  it('an error of afterStart fails it, and nothing stays open', async () => {
    const server = plainServer({ events: { afterStart: () => Promise.reject(new Error('no registry')) } });
    const app = await microservice(server);

    await expect(app.listen()).rejects.toThrow('no registry');
    expect(server.address()).toBe(null);
  });

  it('runs the listeners of start and stop in their order', async () => {
    const seen: string[] = [];
    const note = (name: string) => async (): Promise<void> => {
      await Promise.resolve();
      seen.push(name);
    };
    const server = plainServer({
      events: {
        beforeStart: [note('before start 1'), note('before start 2')],
        afterStart: note('after start'),
        beforeStop: [note('before stop')],
        afterStop: note('after stop'),
      },
    });
    server.on('listening', () => seen.push('listening'));
    server.on('close', () => seen.push('close'));

    await listen(server);
    await server.close();

    expect(seen).toEqual([
      'before start 1',
      'before start 2',
      'listening',
      'after start',
      'before stop',
      'close',
      'after stop',
    ]);
  });

  it('two handlers of one request: rejects with RegisteredError before the port is open', async () => {
    const server = plainServer();
    server.addHandler('twice', () => Promise.resolve(1));
    server.addHandler('twice', () => Promise.resolve(2));
    const [error] = await listen(server);
    expect(error).toBeInstanceOf(RegisteredError);
    expect(server.address()).toBe(null);
  });
});

describe('close()', () => {
  it('is safe before listen, twice, and at once', async () => {
    const server = plainServer();
    await server.close();
    await listen(server);

    await Promise.all([server.close(), server.close()]);
    await server.close();

    expect(server.address()).toBe(null);
  });

  it('of the application: before listen, and twice', async () => {
    const unstarted = await microservice(plainServer());
    await unstarted.close();
    await unstarted.close();

    const started = await microservice(plainServer());
    await started.listen();
    await started.close();
    await started.close();
  });

  it('waits for calls that run, and tells who calls then', async () => {
    const started = new Gate();
    const finish = new Gate();
    const server = plainServer({ closeTimeoutMs: 5000 });
    server.addHandler('slow', async () => {
      started.open();
      await finish.opened;
      return 'done';
    });
    await listen(server);
    const rap = clientOf(server);
    const call = rap.call('slow');
    await started.opened;

    const closed = server.close();
    finish.open();

    expect(await call).toBe('done');
    await closed;
    expect(server.stats()).toMatchObject({ connections: 0, inFlight: 0 });
  });

  it('ends calls that run longer than closeTimeoutMs', async () => {
    const started = new Gate();
    const server = plainServer({ closeTimeoutMs: 30 });
    server.addHandler('never', () => {
      started.open();
      return new Promise(() => {});
    });
    await listen(server);
    const call = rejection(clientOf(server).call('never'));
    await started.opened;

    await within('close', server.close());

    expect(await call).toBeInstanceOf(ConnectionLostError);
  });

  it('while listen is under way: nothing listens in the end', async () => {
    const starting = new Gate();
    const go = new Gate();
    const server = plainServer({
      events: {
        beforeStart: () => {
          starting.open();
          return go.opened;
        },
      },
    });
    const listening = listen(server);
    await starting.opened;

    const closed = server.close();
    go.open();
    await closed;
    await listening;

    expect(server.address()).toBe(null);
  });

  it('listen again after close: the same handlers, on the same object', async () => {
    const server = plainServer();
    const app = await microservice(server);
    await app.listen();
    await server.close();

    await app.listen();

    expect(await clientOf(server).call('echo', 1)).toBe(1);
    await server.close();
    await listen(server);
    expect(await clientOf(server).call('echo', 2)).toBe(2);
  });

  it('a client comes back to a server that listens again on its port', async () => {
    const port = await freePort();
    const server = plainServer({ port });
    server.addHandler('echo', (data: unknown) => Promise.resolve(data));
    await listen(server);
    const rap = clientOf(server);
    expect(await rap.call('echo', 1)).toBe(1);

    await server.close();
    const call = rap.call('echo', 2);
    await listen(server);

    expect(await call).toBe(2);
  });

  it('an error of beforeStop or afterStop does not leave the port open', async () => {
    for (const name of ['beforeStop', 'afterStop'] as const) {
      const server = new RapServer({
        host: '127.0.0.1',
        port: 0,
        events: { [name]: () => Promise.reject(new Error(`${name} is broken`)) },
      });
      // oxlint-disable-next-line no-await-in-loop
      await listen(server);
      // oxlint-disable-next-line no-await-in-loop
      await server.close().catch(() => {});
      const open = server.address();
      if (open !== null) server.unwrap().close();
      expect([name, open]).toEqual([name, null]);
    }
  });
});

describe('on() and unwrap()', () => {
  it('listeners from before listen hear everything, also after a restart', async () => {
    const server = plainServer();
    const seen: unknown[] = [];
    server.on('listening', (address) => seen.push(['listening', typeof address]));
    server.on('connection', ({ id, peer, metadata }) =>
      seen.push(['connection', typeof id, peer.family, metadata]),
    );
    server.on('disconnect', (_, reason) => seen.push(['disconnect', reason instanceof Error]));
    server.on('close', () => seen.push(['close']));
    const round = async (): Promise<void> => {
      await listen(server);
      const { port } = server.address() as net.AddressInfo;
      const rap = new RapClient({ host: '127.0.0.1', port, metadata: { who: 'ann' } });
      await rap.connect();
      rap.close();
      await eventually('the disconnect', () => server.stats().connections === 0);
      await server.close();
    };

    await round();
    await round();

    const expected = [
      ['listening', 'object'],
      ['connection', 'string', 'IPv4', { who: 'ann' }],
      ['disconnect', true],
      ['close'],
    ];
    expect(seen).toEqual([...expected, ...expected]);
  });

  it('a listener that throws is logged, and the server goes on', async () => {
    const server = plainServer();
    const log = new RecordingLogger();
    const app = await microservice(server, log);
    server.on('connection', () => {
      throw new Error('broken listener');
    });
    await app.listen();

    expect(await clientOf(server).call('echo', 1)).toBe(1);
    expect(log.lines.join('\n')).toContain('broken listener');
  });

  it('on, unwrap and status of the application are those of the server', async () => {
    const server = plainServer();
    const app = await microservice(server);
    const seen: unknown[] = [];
    app.on('listening', () => seen.push('listening'));
    app.status.subscribe((status) => seen.push(status));

    await app.listen();

    expect(app.unwrap<net.Server>()).toBeInstanceOf(net.Server);
    expect(app.unwrap()).toBe(server.unwrap());
    expect(seen).toEqual(['connected', 'listening']);
  });
});

describe('status', () => {
  it('tells connected and disconnected, the last one to who comes late, and nothing twice', async () => {
    const server = plainServer();
    const seen: string[] = [];
    server.status.subscribe((status) => seen.push(status));

    await listen(server);
    expect(await firstValueFrom(server.status)).toBe(RapStatus.Connected);
    await server.close();
    await server.close();
    await listen(server);

    expect(seen).toEqual(['connected', 'disconnected', 'connected']);
  });

  it('tells disconnected after a start that failed', async () => {
    const server = plainServer({ port: await occupiedPort() });
    await listen(server);
    expect(await firstValueFrom(server.status)).toBe(RapStatus.Disconnected);
  });
});

describe('nothing of a message ends the process', () => {
  it('handlers that throw, reject, or never were there, for calls and events', async () => {
    const server = plainServer();
    const log = new RecordingLogger();
    const app = await microservice(server, log);
    server.addHandler('sync', (() => {
      throw new TypeError('sync');
    }) as never);
    server.addHandler('undefined', () => Promise.reject(undefined));
    server.addHandler('exception', () => Promise.reject(new RpcException('exception')));
    await app.listen();
    const rap = clientOf(server);

    for (const pattern of ['sync', 'undefined', 'exception', 'nobody', 'boom']) {
      // oxlint-disable-next-line no-await-in-loop
      await rejection(rap.call(pattern, null, { timeoutMs: 2000 }));
      rap.emit(pattern, 1);
    }
    await eventually('no call left', () => server.stats().inFlight === 0);
    expect(await rap.call('echo', 1)).toBe(1);
  });

  it('an error of a handler that was added by hand is masked and logged: no filter of Nest was there', async () => {
    const server = plainServer();
    const log = new RecordingLogger();
    const app = await microservice(server, log);
    server.addHandler('broken', () => Promise.reject(new TypeError('secret')));
    await app.listen();

    expect(await rejection(clientOf(server).call('broken'))).toMatchObject({
      status: 500,
      message: 'Internal server error',
    });
    expect(log.lines.join('\n')).toContain('secret');
  });
});

describe('the log', () => {
  it('goes to the logger of the application under the name RapServer, and nothing to the console', async () => {
    const written: unknown[] = [];
    const restore: (() => void)[] = [];
    const watch = <T extends object, K extends keyof T>(object: T, key: K): void => {
      const original = object[key];
      object[key] = ((...args: unknown[]) => {
        written.push([key, ...args]);
        return true;
      }) as T[K];
      restore.push(() => {
        object[key] = original;
      });
    };
    for (const key of ['log', 'info', 'warn', 'error', 'debug', 'trace'] as const) watch(console, key);
    watch(process.stdout, 'write');
    watch(process.stderr, 'write');
    const log = new RecordingLogger();
    try {
      const server = plainServer();
      const app = await microservice(server, log);
      await app.listen();
      const rap = clientOf(server);
      await rap.call('echo', 1);
      await rejection(rap.call('boom'));
      await rejection(rap.call('nobody'));
      rap.emit('nobody', 1);
      const raw = await RawSocket.connect((server.address() as net.AddressInfo).port);
      raw.bytes('c1 c1 c1');
      await raw.waitClosed();
      rap.close();
      await rejection(new RapClient({ host: '127.0.0.1', port: 1 }).call('x'));
      await app.close();
    } finally {
      for (const each of restore) each();
    }

    expect(written).toEqual([]);
    expect(log.lines.filter((line) => line.startsWith('warn RapServer: '))).toHaveLength(3);
    expect(log.lines.some((line) => line.startsWith('error RpcExceptionsHandler: boom'))).toBe(true);
  });

  it('app.useLogger after the start holds for the server too', async () => {
    const server = plainServer();
    const app = await microservice(server);
    await app.listen();
    const late = new RecordingLogger();
    app.useLogger(late);

    await rejection(clientOf(server).call('nobody'));

    await eventually('the line', () => late.lines.length);
    expect(late.lines[0]).toContain('RapServer');
  });
});

describe('the strategy by useFactory', () => {
  it('with injected options', async () => {
    @Module({
      controllers: [EchoController],
      providers: [{ provide: 'CONFIG', useValue: { host: '127.0.0.1', port: 0 } }],
    })
    class ConfiguredModule {}
    const app = await NestFactory.createMicroservice(ConfiguredModule, {
      inject: ['CONFIG'],
      useFactory: (config: RapServerOptions) => ({ strategy: new RapServer(config) }),
      logger: new RecordingLogger(),
    });
    scope.defer(() => app.close());

    await app.listen();
    const server = (app as unknown as { getTransportServer(): RapServer }).getTransportServer();

    expect(server).toBeInstanceOf(RapServer);
    expect(await clientOf(server).call('echo', 1)).toBe(1);
  });
});
