import 'reflect-metadata';
import {
  Controller,
  type DynamicModule,
  type ForwardReference,
  Injectable,
  Module,
  type Provider,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Client,
  ClientProxy,
  ClientProxyFactory,
  ClientsModule,
  MessagePattern,
  Payload,
} from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import {
  defineService,
  InjectRapClient,
  InjectRapService,
  RapClient,
  type RapClientOptions,
  RapModule,
  RapServer,
  RapService,
  type RapServiceClient,
  unary,
} from '../../lib/index.js';
import { RecordingLogger } from '../helpers/app.js';
import { eventually, rejection, testScope, type ServedApp } from '../helpers/async.js';

const scope = testScope();

@Controller()
class SumController {
  @MessagePattern('sum') sum(@Payload() { a, b }: { a: number; b: number }): number {
    return a + b;
  }
}
const three = { a: 1, b: 2 };
/** That the class itself has the type Nest wants is what types.spec.ts tells. */
const customClass = RapClient as never as Type<ClientProxy>;
const serve = (): Promise<ServedApp> => scope.serve([SumController]);
const optionsOf = ({ port }: ServedApp): RapClientOptions => ({ host: '127.0.0.1', port });

type Import = Type | DynamicModule | Promise<DynamicModule> | ForwardReference;

/** An application context of this module; closes with the test. */
async function context(
  metadata: { imports?: Import[]; providers?: Provider[]; controllers?: Type[] },
  options: object = {},
): Promise<Awaited<ReturnType<typeof NestFactory.createApplicationContext>>> {
  class ContextModule {}
  Module(metadata)(ContextModule);
  const app = await NestFactory.createApplicationContext(ContextModule, {
    logger: new RecordingLogger(),
    ...options,
  });
  scope.defer(() => app.close());
  return app;
}

/** What the ping check of Terminus does. */
async function check(options: RapClientOptions): Promise<void> {
  const client = ClientProxyFactory.create({ customClass, options });
  try {
    await client.connect();
  } finally {
    await client.close();
  }
}

/** As @nestjs/observe does it: properties are read from the instance itself, methods are bound to it. */
function decorate(seen: string[]) {
  return <T>(instance: T): T => {
    if (!(instance instanceof RapClient)) return instance;
    return new Proxy(instance, {
      get(target, property) {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== 'function' || property === 'constructor') return value;
        return (...args: unknown[]): unknown => {
          seen.push(String(property));
          return Reflect.apply(value, target, args);
        };
      },
    });
  };
}

@Injectable()
class Calculator {
  constructor(@InjectRapClient('MATH') readonly math: RapClient) {}
}

describe('RapModule', () => {
  it('register: injects a client by its name, and closes it with the application', async () => {
    const test = await serve();
    const app = await context({
      imports: [RapModule.register([{ name: 'MATH', ...optionsOf(test) }])],
      providers: [Calculator],
    });
    const { math } = app.get(Calculator);

    expect(math).toBeInstanceOf(RapClient);
    expect(await math.call('sum', three)).toBe(3);
    expect(test.server.stats().connections).toBe(1);
    await app.close();

    await eventually('no connection', () => test.server.stats().connections === 0);
  });

  it('register: several clients, also under symbols, each its own', async () => {
    const test = await serve();
    const OTHER = Symbol('other');
    const app = await context({
      imports: [
        RapModule.register([
          { name: 'MATH', ...optionsOf(test) },
          { name: OTHER, servers: [{ host: '127.0.0.1', port: test.port }] },
        ]),
      ],
      providers: [Calculator],
    });
    const other = app.get<RapClient>(OTHER);

    expect(other).not.toBe(app.get(Calculator).math);
    expect(await other.call('sum', three)).toBe(3);
    expect(await firstValueFrom(app.get(Calculator).math.send('sum', three))).toBe(3);
    expect(test.server.stats().connections).toBe(2);
  });

  it('register in two modules: each has its own, both are closed', async () => {
    const test = await serve();
    @Module({
      imports: [RapModule.register([{ name: 'MATH', ...optionsOf(test) }])],
      providers: [Calculator],
      exports: [Calculator],
    })
    class FeatureModule {}
    const app = await context({
      imports: [
        FeatureModule,
        RapModule.register([{ name: 'MATH', ...optionsOf(test), callTimeoutMs: 5000 }]),
      ],
      providers: [{ provide: 'own', useClass: Calculator }],
    });
    await app.get(Calculator).math.connect();
    await app.get<Calculator>('own').math.connect();

    await app.close();

    await eventually('no connection', () => test.server.stats().connections === 0);
  });

  it('registerAsync: options from other providers, also asynchronously', async () => {
    const test = await serve();
    @Module({
      providers: [{ provide: 'CONFIG', useValue: optionsOf(test) }],
      exports: ['CONFIG'],
    })
    class ConfigModule {}
    const app = await context({
      imports: [
        RapModule.registerAsync([
          {
            name: 'MATH',
            imports: [ConfigModule],
            inject: ['CONFIG'],
            useFactory: async (config: RapClientOptions) => {
              await Promise.resolve();
              return config;
            },
          },
        ]),
      ],
      providers: [Calculator],
    });

    expect(await app.get(Calculator).math.call('sum', three)).toBe(3);
    await app.close();

    await eventually('no connection', () => test.server.stats().connections === 0);
  });

  it('a wrong option fails the start of the application', async () => {
    await expect(
      context(
        { imports: [RapModule.register([{ name: 'MATH', callTimeoutMs: -1 }])] },
        { abortOnError: false },
      ),
    ).rejects.toThrow('callTimeoutMs');
  });

  it('injects into a controller that serves rap itself, and closes after it', async () => {
    const test = await serve();
    @Controller()
    class GatewayController {
      constructor(@InjectRapClient('MATH') private readonly math: RapClient) {}
      @MessagePattern('twice') async twice(@Payload() data: unknown): Promise<number> {
        return 2 * (await this.math.call<number>('sum', data));
      }
    }
    const gateway = await scope.serve([GatewayController], {
      providers: [{ provide: 'MATH', useFactory: () => new RapClient(optionsOf(test)) }],
    });

    expect(await gateway.client().call('twice', three)).toBe(6);
    await gateway.close();

    await eventually('no connection', () => test.server.stats().connections === 0);
  });
});

describe('the ways of Nest to a client', () => {
  it('ClientProxyFactory.create with customClass', async () => {
    const test = await serve();
    const client = ClientProxyFactory.create({ customClass, options: optionsOf(test) });
    scope.defer(() => client.close() as unknown);

    expect(client).toBeInstanceOf(RapClient);
    expect(await firstValueFrom(client.send('sum', three))).toBe(3);
  });

  it('as the ping check of Terminus: create, connect, close', async () => {
    const test = await serve();

    await check(optionsOf(test));
    await eventually('no connection', () => test.server.stats().connections === 0);
    await test.app.close();
    await rejection(check(optionsOf(test)));
  });

  it('ClientsModule.register', async () => {
    const test = await serve();
    const app = await context({
      imports: [ClientsModule.register([{ name: 'MATH', customClass, options: optionsOf(test) }])],
      providers: [Calculator],
    });
    const { math } = app.get(Calculator);

    expect(math).toBeInstanceOf(RapClient);
    expect(await math.call('sum', three)).toBe(3);
    await app.close();

    await eventually('no connection', () => test.server.stats().connections === 0);
  });

  it('ClientsModule.registerAsync with useFactory and useClass', async () => {
    const test = await serve();
    class Options {
      createClientOptions(): { customClass: Type<ClientProxy>; options: RapClientOptions } {
        return { customClass, options: optionsOf(test) };
      }
    }
    const app = await context({
      imports: [
        ClientsModule.registerAsync([
          {
            name: 'MATH',
            useFactory: async () => {
              await Promise.resolve();
              return { customClass, options: optionsOf(test) };
            },
          },
          { name: 'OTHER', useClass: Options },
        ]),
      ],
      providers: [Calculator],
    });

    expect(await app.get(Calculator).math.call('sum', three)).toBe(3);
    expect(await app.get<RapClient>('OTHER').call('sum', three)).toBe(3);
    await app.close();

    await eventually('no connection', () => test.server.stats().connections === 0);
  });

  it('ClientsModule closes with the signal as first argument', async () => {
    const seen: unknown[] = [];
    class Watched extends RapClient {
      override close(...args: unknown[]): void {
        seen.push(args);
        super.close();
      }
    }
    const test = await serve();
    const app = await context({
      imports: [ClientsModule.register([{ name: 'MATH', customClass: Watched, options: optionsOf(test) }])],
      providers: [Calculator],
    });
    await app.get(Calculator).math.connect();

    await (app as unknown as { close(signal: string): Promise<void> }).close('SIGTERM');

    expect(seen).toEqual([['SIGTERM']]);
    await eventually('no connection', () => test.server.stats().connections === 0);
  });

  it('@Client() in a controller of a microservice: set at start, closed at the end', async () => {
    const test = await serve();
    @Controller()
    class GatewayController {
      @Client({ customClass, options: optionsOf(test) } as never) math!: ClientProxy;
      @MessagePattern('twice') async twice(@Payload() data: unknown): Promise<number> {
        return 2 * (await firstValueFrom(this.math.send<number>('sum', data)));
      }
    }
    const gateway = await scope.serve([GatewayController]);

    expect(await gateway.client().call('twice', three)).toBe(6);
    expect(gateway.app.get(GatewayController).math).toBeInstanceOf(RapClient);
    await gateway.close();

    await eventually('no connection', () => test.server.stats().connections === 0);
  });
});

describe('a client that instrumentation has wrapped in a Proxy', () => {
  const ways: [string, (test: ServedApp) => Import][] = [
    ['RapModule.register', (test) => RapModule.register([{ name: 'MATH', ...optionsOf(test) }])],
    [
      'RapModule.registerAsync',
      (test) => RapModule.registerAsync([{ name: 'MATH', useFactory: () => optionsOf(test) }]),
    ],
    [
      'ClientsModule.register',
      (test) => ClientsModule.register([{ name: 'MATH', customClass, options: optionsOf(test) }]),
    ],
  ];
  it.each(ways)('of %s: every method works', async (_, module) => {
    const test = await serve();
    const seen: string[] = [];
    const app = await context(
      { imports: [module(test)], providers: [Calculator] },
      { instrument: { instanceDecorator: decorate(seen) } },
    );
    const { math } = app.get(Calculator);
    const statuses: string[] = [];
    math.status.subscribe((status) => statuses.push(status));
    math.on('connect', () => statuses.push('on connect'));

    await math.connect();
    expect(await math.call('sum', three)).toBe(3);
    expect(await firstValueFrom(math.send('sum', three))).toBe(3);
    await firstValueFrom(math.emit('sum', three));
    expect(await math.ping()).toBeGreaterThan(0);
    expect(math.stats().inFlight).toBe(0);
    expect(math.unwrap<object>()).toBeDefined();
    expect(statuses).toEqual(['connecting', 'connected', 'on connect']);
    expect(seen).toEqual(expect.arrayContaining(['call', 'send', 'emit', 'connect']));
    await app.close();

    await eventually('no connection', () => test.server.stats().connections === 0);
  });

  it('its dispatch hook, set through the Proxy, runs', async () => {
    const test = await serve();
    const app = await context(
      {
        imports: [RapModule.register([{ name: 'MATH', ...optionsOf(test) }])],
        providers: [Calculator],
      },
      { instrument: { instanceDecorator: decorate([]) } },
    );
    const { math } = app.get(Calculator);
    const seen: unknown[] = [];
    math.setOnDispatchHook(({ pattern }) => seen.push(pattern));

    await math.call('sum', three);

    expect(seen).toEqual(['sum']);
  });
});

describe('preview mode', () => {
  it('opens no socket: neither the server nor its clients', async () => {
    const test = await serve();
    const server = new RapServer({ host: '127.0.0.1', port: 0 });
    @Module({
      imports: [
        RapModule.register([{ name: 'MATH', ...optionsOf(test) }]),
        ClientsModule.register([{ name: 'OTHER', customClass, options: optionsOf(test) }]),
      ],
      controllers: [SumController],
      providers: [Calculator],
    })
    class PreviewModule {}
    const app = await NestFactory.createMicroservice(PreviewModule, {
      strategy: server,
      preview: true,
      abortOnError: false,
      logger: new RecordingLogger(),
    });
    await app.init();

    await rejection(app.listen());
    await new Promise(setImmediate);

    expect(server.address()).toBe(null);
    expect(test.server.stats().connections).toBe(0);
    await app.close();
  });
});

describe('RapModule.register({ clients, isGlobal })', () => {
  const SumService = defineService('math', { sum: unary<{ a: number; b: number }, number>() });
  @RapService(SumService)
  class MathController {
    sum({ a, b }: { a: number; b: number }): number {
      return a + b;
    }
  }
  @Injectable()
  class FarAway {
    constructor(
      @InjectRapClient('MATH') readonly client: RapClient,
      @InjectRapService(SumService) readonly math: RapServiceClient<typeof SumService>,
    ) {}
  }
  @Module({ providers: [FarAway], exports: [FarAway] })
  class FarAwayModule {}

  it.each([
    [
      'register',
      (options: RapClientOptions) =>
        RapModule.register({
          clients: [{ name: 'MATH', services: [SumService], ...options }],
          isGlobal: true,
        }),
    ],
    [
      'registerAsync',
      (options: RapClientOptions) =>
        RapModule.registerAsync({
          clients: [{ name: 'MATH', services: [SumService], useFactory: () => options }],
          isGlobal: true,
        }),
    ],
  ])('%s: other modules inject clients and typed proxies', async (_, register) => {
    const served = await scope.serve([MathController]);
    const app = await context({ imports: [register(optionsOf(served)), FarAwayModule] });

    const { client, math } = app.get(FarAway, { strict: false });
    expect(await math.sum(three)).toBe(3);
    expect(math).toBe(client.service(SumService));
  });

  it('without isGlobal other modules do not find them', async () => {
    const served = await scope.serve([MathController]);
    const register = RapModule.register({
      clients: [{ name: 'MATH', services: [SumService], ...optionsOf(served) }],
    });
    await expect(context({ imports: [register, FarAwayModule] }, { abortOnError: false })).rejects.toThrow(
      'MATH',
    );
  });

  it('refuses what is not a contract', () => {
    expect(() => InjectRapService({} as never)).toThrow('is not a contract of defineService');
    expect(() => RapModule.register([{ name: 'MATH', services: [undefined as never] }])).toThrow(
      'services of the client MATH',
    );
  });
});
