import 'reflect-metadata';
import { type ChildProcess, spawn } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { jest } from '@jest/globals';
import {
  type BeforeApplicationShutdown,
  Controller,
  type DynamicModule,
  Injectable,
  Module,
  type OnApplicationShutdown,
  type OnModuleDestroy,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, type MicroserviceOptions } from '@nestjs/microservices';
import {
  ConnectionLostError,
  InjectRapClient,
  RapClient,
  RapModule,
  RapServer,
  type RapServerOptions,
} from '../../../lib/index.js';
import { RecordingLogger } from '../../helpers/app.js';
import { eventually, Gate, rejection, testScope, within } from '../../helpers/async.js';
import { collect } from '../../helpers/streams.js';
import { compile, type Compiled } from '../../helpers/compiled.js';

const scope = testScope();

/** What happened, in this test. */
let order: string[] = [];
let started = new Gate();
let finish = new Gate();
beforeEach(() => {
  order = [];
  started = new Gate();
  finish = new Gate();
});

@Injectable()
class Witness implements OnModuleDestroy, BeforeApplicationShutdown, OnApplicationShutdown {
  destroyed = false;
  onModuleDestroy(): void {
    this.destroyed = true;
    order.push('onModuleDestroy');
  }
  beforeApplicationShutdown(): void {
    order.push('beforeApplicationShutdown');
  }
  onApplicationShutdown(): void {
    order.push('onApplicationShutdown');
  }
}

@Controller()
class SlowController {
  constructor(private readonly witness: Witness) {}
  @MessagePattern('slow') async slow(): Promise<string> {
    started.open();
    await finish.opened;
    return this.witness.destroyed ? 'provider destroyed' : 'provider alive';
  }
}

@Module({ controllers: [SlowController], providers: [Witness] })
class FeatureModule {}

function serverOf(options: RapServerOptions = {}): RapServer {
  return new RapServer({
    host: '127.0.0.1',
    port: 0,
    closeTimeoutMs: 2000,
    events: { beforeStop: () => order.push('rap stops'), afterStop: () => order.push('rap stopped') },
    ...options,
  });
}

function clientOf(server: RapServer, options: object = {}): RapClient {
  const { port } = server.address() as AddressInfo;
  const client = new RapClient({ host: '127.0.0.1', port, ...options });
  scope.defer(() => client.close());
  return client;
}

async function microservice(server: RapServer, imports: (DynamicModule | typeof FeatureModule)[]) {
  @Module({ imports })
  class AppModule {}
  const app = await NestFactory.createMicroservice(AppModule, {
    strategy: server,
    logger: new RecordingLogger(),
  });
  scope.defer(() => app.close());
  await app.listen();
  return app;
}

async function hybrid(server: RapServer, imports: (DynamicModule | typeof FeatureModule)[]) {
  @Module({ imports })
  class AppModule {}
  const app = await NestFactory.create(AppModule, { logger: new RecordingLogger() });
  scope.defer(() => app.close());
  app.connectMicroservice<MicroserviceOptions>({ strategy: server });
  await app.init();
  await app.startAllMicroservices();
  await app.listen(0, '127.0.0.1');
  return app;
}

describe('the order of close()', () => {
  it('of a microservice: rap first, then the providers', async () => {
    const app = await microservice(serverOf(), [FeatureModule]);
    await app.close();
    expect(order).toEqual([
      'rap stops',
      'rap stopped',
      'onModuleDestroy',
      'beforeApplicationShutdown',
      'onApplicationShutdown',
    ]);
  });

  it('of a microservice: a call that runs still has its providers', async () => {
    const server = serverOf();
    const app = await microservice(server, [FeatureModule]);
    const call = clientOf(server).call('slow');
    await started.opened;

    const closed = app.close();
    finish.open();

    expect(await call).toBe('provider alive');
    await closed;
  });

  it('of a hybrid application: calls that run end before the providers are destroyed', async () => {
    const server = serverOf();
    const app = await hybrid(server, [FeatureModule]);
    const call = clientOf(server).call('slow');
    await started.opened;

    const closed = app.close();
    await eventually('the drain', () => server.address() === null);
    expect(order).toEqual([]);
    finish.open();

    expect(await call).toBe('provider alive');
    await closed;
  });

  it('of a hybrid application with two servers: both drain first', async () => {
    const servers = [serverOf({ events: {} }), serverOf({ events: {} })] as const;
    @Module({ imports: [FeatureModule] })
    class AppModule {}
    const app = await NestFactory.create(AppModule, { logger: new RecordingLogger() });
    scope.defer(() => app.close());
    for (const strategy of servers) app.connectMicroservice<MicroserviceOptions>({ strategy });
    await app.init();
    await app.startAllMicroservices();
    const calls = servers.map((server) => clientOf(server).call('slow'));
    await eventually('both calls', () => servers.every((server) => server.stats().inFlight === 1));

    const closed = app.close();
    await eventually('both drain', () => servers.every((server) => server.address() === null));
    finish.open();

    expect(await Promise.all(calls)).toEqual(['provider alive', 'provider alive']);
    await closed;
  });

  it('of a hybrid application: providers are destroyed after closeTimeoutMs, though a call never ends', async () => {
    const server = serverOf({ closeTimeoutMs: 30 });
    const app = await hybrid(server, [FeatureModule]);
    const call = rejection(clientOf(server, { reconnect: false }).call('slow'));
    await started.opened;

    await within('close', app.close());

    expect(await call).toBeInstanceOf(ConnectionLostError);
    expect(order[0]).toBe('onModuleDestroy');
  });

  it('of a hybrid application: providers are destroyed though a server cannot drain', async () => {
    const server = serverOf();
    const app = await hybrid(server, [FeatureModule]);
    const failing = jest.spyOn(server, 'drain').mockRejectedValue(new Error('cannot drain'));
    scope.defer(() => failing.mockRestore());
    await rejection(app.close());
    expect(order).toContain('onModuleDestroy');
  });

  it('of another application in this process: its servers go on', async () => {
    const server = serverOf({ events: {} });
    await microservice(server, [FeatureModule]);
    const other = await hybrid(serverOf(), [FeatureModule]);
    await other.close();
    finish.open();
    expect(await clientOf(server).call('slow')).toBe('provider alive');
    expect(server.stats().draining).toBe(false);
  });

  it('of a hybrid application: the hooks of rap after those of the providers', async () => {
    const app = await hybrid(serverOf(), [FeatureModule]);
    await app.close();
    expect(order).toEqual([
      'onModuleDestroy',
      'beforeApplicationShutdown',
      'rap stops',
      'rap stopped',
      'onApplicationShutdown',
    ]);
  });
});

describe('RapModule.drainOnShutdown', () => {
  it('in a hybrid application: calls that run are done before a provider is destroyed', async () => {
    const server = serverOf();
    const app = await hybrid(server, [FeatureModule, RapModule.drainOnShutdown(server)]);
    const call = clientOf(server).call('slow');
    await started.opened;

    const closed = app.close();
    await eventually('the drain', () => server.address() === null);
    expect(order).toEqual([]);
    finish.open();

    expect(await call).toBe('provider alive');
    await closed;
    expect(order[0]).toBe('onModuleDestroy');
    expect(order).toContain('rap stopped');
  });

  it('wherever it stands in the imports', async () => {
    const server = serverOf();
    const app = await hybrid(server, [RapModule.drainOnShutdown(server), FeatureModule]);
    const call = clientOf(server).call('slow');
    await started.opened;

    const closed = app.close();
    await eventually('the drain', () => server.address() === null);
    finish.open();

    expect(await call).toBe('provider alive');
    await closed;
  });

  it('also for the providers of the root module', async () => {
    const server = serverOf();
    @Module({
      imports: [RapModule.drainOnShutdown(server)],
      controllers: [SlowController],
      providers: [Witness],
    })
    class AppModule {}
    const app = await NestFactory.create(AppModule, { logger: new RecordingLogger() });
    scope.defer(() => app.close());
    app.connectMicroservice<MicroserviceOptions>({ strategy: server });
    await app.init();
    await app.startAllMicroservices();
    const call = clientOf(server).call('slow');
    await started.opened;

    const closed = app.close();
    await eventually('the drain', () => server.address() === null);
    finish.open();

    expect(await call).toBe('provider alive');
    await closed;
  });

  it('in a microservice, and with a server that never listened: nothing hangs', async () => {
    const server = serverOf();
    const app = await microservice(server, [FeatureModule, RapModule.drainOnShutdown(server)]);
    await clientOf(server).connect();
    await within('close', app.close());

    const unused = serverOf();
    const other = await NestFactory.createApplicationContext(RapModule.drainOnShutdown(unused) as never, {
      logger: new RecordingLogger(),
    });
    await within('close', other.close());
  });

  it('stops within closeTimeoutMs, though a call never ends', async () => {
    const server = serverOf({ closeTimeoutMs: 30 });
    const app = await hybrid(server, [FeatureModule, RapModule.drainOnShutdown(server)]);
    const call = rejection(clientOf(server, { reconnect: false }).call('slow'));
    await started.opened;

    await within('close', app.close());

    expect(await call).toBeInstanceOf(ConnectionLostError);
    expect(order).toContain('onApplicationShutdown');
  });
});

describe('drain()', () => {
  it('refuses new connections, finishes what runs, and close() does the rest', async () => {
    const server = serverOf();
    await microservice(server, [FeatureModule]);
    const rap = clientOf(server);
    const late = clientOf(server, { reconnect: false });
    const call = rap.call('slow');
    await started.opened;

    const drained = server.drain();

    expect(server.address()).toBe(null);
    expect(await rejection(late.connect())).toBeInstanceOf(ConnectionLostError);
    finish.open();
    expect(await call).toBe('provider alive');
    await drained;
    expect(server.stats()).toMatchObject({ connections: 0, inFlight: 0 });
    await server.close();
    await server.drain();
  });

  it('is safe before listen and twice', async () => {
    const server = serverOf();
    await server.drain();
    await microservice(server, [FeatureModule]);
    const rap = clientOf(server);
    await rap.connect();
    await within('drain', Promise.all([server.drain(), server.drain()]));
    expect(server.stats().connections).toBe(0);
  });

  it('before listen does not turn the first clients away', async () => {
    const server = serverOf();
    await server.drain();
    await microservice(server, [FeatureModule]);
    finish.open();
    expect(await clientOf(server).call('slow')).toBe('provider alive');
  });
});

it('clients of the application are closed after its own server, at app.close()', async () => {
  const backend = serverOf();
  const backendApp = await microservice(backend, [FeatureModule]);
  const { port } = backend.address() as AddressInfo;
  @Controller()
  class GatewayController {
    constructor(@InjectRapClient('BACKEND') private readonly rap: RapClient) {}
    @MessagePattern('forward') forward(): Promise<unknown> {
      return this.rap.call('slow');
    }
  }
  @Module({
    imports: [RapModule.register([{ name: 'BACKEND', host: '127.0.0.1', port }])],
    controllers: [GatewayController],
  })
  class GatewayModule {}
  const server = serverOf({ events: {} });
  const gateway = await microservice(server, [GatewayModule]);
  const call = clientOf(server).call('forward');
  await started.opened;

  const closed = gateway.close();
  finish.open();

  expect(await call).toBe('provider alive');
  await closed;
  await eventually('no connection', () => backend.stats().connections === 0);
  await backendApp.close();
});

/** What a process writes, line by line as it comes. */
function linesOf({ stdout }: ChildProcess): string[] {
  const lines: string[] = [];
  let rest = '';
  stdout?.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
  });
  return lines;
}

describe('SIGTERM with enableShutdownHooks, in a process of its own', () => {
  const source = 'test/nest/lifecycle/fixtures/shutdown-app.ts';
  let compiled: Compiled;
  beforeAll(async () => {
    compiled = await compile([source]);
  }, 30_000);
  afterAll(() => compiled.remove());

  /** Starts the application, calls it, and sends SIGTERM while the call runs. */
  async function terminate(
    args: string[],
    pattern = 'slow',
    ask: (client: RapClient) => Promise<unknown> = (client) => client.call(pattern),
  ): Promise<{ lines: string[]; answer: unknown; end: unknown[] }> {
    const child = spawn(process.execPath, [compiled.path(source), ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    scope.defer(() => child.kill('SIGKILL'));
    const lines = linesOf(child);
    const end = new Promise<unknown[]>((resolve) => child.once('exit', (...status) => resolve(status)));
    await eventually(
      'the start',
      () => lines.some((line) => line.startsWith('listening')) || child.exitCode !== null,
      20_000,
    );
    const port = Number(lines.find((line) => line.startsWith('listening'))?.slice('listening '.length));
    const client = new RapClient({ host: '127.0.0.1', port, reconnect: false });
    scope.defer(() => client.close());
    const answer = ask(client).catch((error: unknown) => error);
    await eventually('the call', () => lines.includes(`${pattern} begins`));

    child.kill('SIGTERM');

    const ended = await within('the end of the process', end, 10_000);
    return { lines: lines.filter((line) => !line.startsWith('listening')), answer: await answer, end: ended };
  }

  it.each(['microservice', 'hybrid'])(
    '%s: the call ends before a provider is destroyed, without a line of code for it',
    async (kind) => {
      const { lines, answer, end } = await terminate([kind]);

      expect(lines).toEqual([
        'slow begins',
        'slow ends',
        'onModuleDestroy',
        'beforeApplicationShutdown SIGTERM',
        'rap stops',
        'rap stopped',
        'onApplicationShutdown SIGTERM',
      ]);
      expect(answer).toBe('provider alive');
      expect(end).toEqual([null, 'SIGTERM']);
    },
    30_000,
  );

  it.each(['microservice', 'hybrid'])(
    '%s with drainOnShutdown: the call ends before a provider is destroyed',
    async (kind) => {
      const { lines, answer, end } = await terminate([kind, 'drain']);

      expect(lines).toEqual([
        'slow begins',
        'slow ends',
        'onModuleDestroy',
        'beforeApplicationShutdown SIGTERM',
        'rap stops',
        'rap stopped',
        'onApplicationShutdown SIGTERM',
      ]);
      expect(answer).toBe('provider alive');
      expect(end).toEqual([null, 'SIGTERM']);
    },
    30_000,
  );

  it.each(['microservice', 'hybrid'])(
    '%s: an endless feed that ends with ctx.draining ends in order',
    async (kind) => {
      const { lines, answer, end } = await terminate([kind], 'feed', (client) =>
        collect(client.stream('feed')),
      );

      expect(answer).toEqual(['an item', 'the last item']);
      expect(lines.slice(0, 3)).toEqual(['feed begins', 'feed ends', 'onModuleDestroy']);
      expect(end).toEqual([null, 'SIGTERM']);
    },
    30_000,
  );
});
