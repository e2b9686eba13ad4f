import 'reflect-metadata';
import net from 'node:net';
import {
  type CallHandler,
  type CanActivate,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  type INestApplication,
  Injectable,
  Module,
  type OnModuleInit,
  type Provider,
  type Type,
} from '@nestjs/common';
import { APP_GUARD, NestFactory } from '@nestjs/core';
import {
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  Transport,
  ClientTCP,
} from '@nestjs/microservices';
import { firstValueFrom, map, type Observable, of, throwError } from 'rxjs';
import {
  AuthError,
  FuncNotFoundError,
  ParseError,
  RAP_TRANSPORT,
  RapClient,
  RapContext,
  RapServer,
  type RapServerOptions,
  ServerError,
} from '../../../lib/index.js';
import { RecordingLogger } from '../../helpers/app.js';
import { eventually, rejection, testScope } from '../../helpers/async.js';
import { EventPattern } from '../../helpers/event-pattern.js';

const scope = testScope();

@Controller()
class HybridController {
  @Get() get(): string {
    return 'http';
  }
  @MessagePattern('echo') echo(@Payload() data: unknown): unknown {
    return data;
  }
  @MessagePattern('broken') broken(): never {
    throw new RangeError('broken');
  }
}

interface Hybrid {
  readonly app: INestApplication;
  readonly server: RapServer;
  readonly log: RecordingLogger;
  /** Starts rap and HTTP. */
  readonly start: () => Promise<void>;
  readonly client: () => RapClient;
  /** Body of GET /. */
  readonly http: () => Promise<string>;
}

async function hybrid(
  module: { controllers?: Type[]; providers?: Provider[] },
  options: { inheritAppConfig?: boolean; deferInitialization?: boolean; server?: RapServerOptions } = {},
): Promise<Hybrid> {
  const { server: serverOptions, ...hybridOptions } = options;
  class HybridModule {}
  Module({ controllers: [HybridController], ...module })(HybridModule);
  const log = new RecordingLogger();
  const app = await NestFactory.create(HybridModule, { logger: log, abortOnError: false });
  scope.defer(() => app.close());
  const server = new RapServer({ host: '127.0.0.1', port: 0, closeTimeoutMs: 500, ...serverOptions });
  const connect = (): unknown =>
    app.connectMicroservice<MicroserviceOptions>({ strategy: server }, hybridOptions);
  return {
    app,
    server,
    log,
    async start() {
      connect();
      await app.startAllMicroservices();
      await app.listen(0, '127.0.0.1');
    },
    client() {
      const { port } = server.address() as net.AddressInfo;
      const client = new RapClient({ host: '127.0.0.1', port });
      scope.defer(() => client.close());
      return client;
    },
    async http() {
      const answer = await fetch(await app.getUrl(), { headers: { connection: 'close' } });
      return answer.text();
    },
  };
}

it('serves HTTP and rap from one application, and closes both', async () => {
  const { app, server, start, client, http } = await hybrid({});
  await start();
  const rap = client();

  expect(await http()).toBe('http');
  expect(await rap.call('echo', 1)).toBe(1);
  expect(app.getMicroservices()).toHaveLength(1);
  const { port } = server.address() as net.AddressInfo;
  rap.close();
  await app.close();

  expect(server.address()).toBe(null);
  const probe = new RapClient({ host: '127.0.0.1', port });
  expect(await rejection(probe.connect())).toMatchObject({ cause: { code: 'ECONNREFUSED' } });
});

describe('inheritAppConfig', () => {
  class Guard implements CanActivate {
    canActivate(context: ExecutionContext): boolean {
      return context.getType() === 'http' || context.switchToRpc().getData<unknown>() !== 'bad';
    }
  }
  const wrap = {
    intercept: (_: ExecutionContext, next: CallHandler) =>
      next.handle().pipe(map((value) => ({ wrapped: value }))),
  };
  @Catch(RangeError)
  class Filter implements ExceptionFilter {
    catch(error: RangeError): Observable<never> {
      return throwError(() => new ParseError(error.message));
    }
  }
  const double = { transform: (value: unknown) => (typeof value === 'number' ? value * 2 : value) };

  async function withGlobals(inheritAppConfig: boolean): Promise<Hybrid> {
    const made = await hybrid({}, { inheritAppConfig });
    made.app.useGlobalGuards(new Guard());
    made.app.useGlobalInterceptors(wrap);
    made.app.useGlobalFilters(new Filter());
    made.app.useGlobalPipes(double);
    await made.start();
    return made;
  }

  it('true: global guards, interceptors, pipes and filters hold for rap', async () => {
    const rap = (await withGlobals(true)).client();

    expect(await rap.call('echo', 2)).toEqual({ wrapped: 4 });
    expect(await rejection(rap.call('echo', 'bad'))).toBeInstanceOf(AuthError);
    expect(await rejection(rap.call('broken', 1))).toBeInstanceOf(ParseError);
  });

  it('false: they hold for HTTP only', async () => {
    const rap = (await withGlobals(false)).client();

    expect(await rap.call('echo', 2)).toBe(2);
    expect(await rap.call('echo', 'bad')).toBe('bad');
    expect(await rejection(rap.call('broken', 1))).toBeInstanceOf(ServerError);
  });

  it.each([true, false])(
    '%s: APP_GUARD of the module holds only if the configuration is inherited',
    async (inheritAppConfig) => {
      const made = await hybrid(
        { providers: [{ provide: APP_GUARD, useClass: Guard }] },
        { inheritAppConfig },
      );
      await made.start();
      const rap = made.client();
      const answer = await rap.call('echo', 'bad').catch((error: unknown) => error);

      if (inheritAppConfig) expect(answer).toBeInstanceOf(AuthError);
      else expect(answer).toBe('bad');
    },
  );

  it('enhancers of the microservice itself hold for rap only', async () => {
    const made = await hybrid({});
    const service = made.app.connectMicroservice<MicroserviceOptions>(
      { strategy: made.server },
      { deferInitialization: true },
    );
    service.useGlobalInterceptors(wrap);
    await made.app.startAllMicroservices();
    await made.app.listen(0, '127.0.0.1');

    expect(await made.client().call('echo', 2)).toEqual({ wrapped: 2 });
    expect(await made.http()).toBe('http');
  });
});

it('preRequest hooks hold with deferInitialization', async () => {
  const seen: unknown[] = [];
  const made = await hybrid({});
  const service = made.app.connectMicroservice<MicroserviceOptions>(
    { strategy: made.server },
    { deferInitialization: true },
  );
  service.registerPreRequestHook((context, next) => {
    seen.push(context.switchToRpc().getContext<RapContext>().target);
    return next();
  });
  await made.app.startAllMicroservices();
  await made.app.init();

  expect(await made.client().call('echo', 1)).toBe(1);
  expect(seen).toEqual(['/default/echo']);
});

it('init before startAllMicroservices: no message comes in before onModuleInit', async () => {
  const order: string[] = [];
  @Injectable()
  class Slow implements OnModuleInit {
    async onModuleInit(): Promise<void> {
      await new Promise(setImmediate);
      order.push('init');
    }
  }
  const made = await hybrid(
    { providers: [Slow] },
    { server: { events: { afterStart: () => order.push('listening') } } },
  );
  made.app.connectMicroservice<MicroserviceOptions>({ strategy: made.server });

  await made.app.init();
  await made.app.startAllMicroservices();

  expect(order).toEqual(['init', 'listening']);
  expect(await made.client().call('echo', 1)).toBe(1);
});

describe('beside another transport', () => {
  const seen: string[] = [];
  @Controller()
  class TwoController {
    @MessagePattern('both') both(): string {
      return 'both';
    }
    @MessagePattern('rap', RAP_TRANSPORT) rap(): string {
      return 'rap';
    }
    @MessagePattern('tcp', Transport.TCP) tcp(): string {
      return 'tcp';
    }
    @MessagePattern('same', RAP_TRANSPORT, { group: 'math' }) sameRap(): string {
      return 'same of rap';
    }
    @MessagePattern('same', Transport.TCP) sameTcp(): string {
      return 'same of tcp';
    }
    @EventPattern('event', RAP_TRANSPORT) event(): void {
      seen.push('rap');
    }
    @EventPattern('event', Transport.TCP) eventTcp(): void {
      seen.push('tcp');
    }
  }

  it.each([true, false])('bindUntagged %s: each transport has its own handlers', async (bindUntagged) => {
    seen.splice(0);
    const made = await hybrid({ controllers: [TwoController] }, { server: { bindUntagged } });
    const tcp = made.app.connectMicroservice<MicroserviceOptions>({
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port: 0 },
    });
    made.app.connectMicroservice<MicroserviceOptions>({ strategy: made.server });
    await made.app.startAllMicroservices();
    const { port } = tcp.unwrap<net.Server>().address() as net.AddressInfo;
    const tcpClient = new ClientTCP({ host: '127.0.0.1', port });
    scope.defer(() => tcpClient.close());
    const rap = made.client();

    expect(await firstValueFrom(tcpClient.send('both', {}))).toBe('both');
    expect(await firstValueFrom(tcpClient.send('same', {}))).toBe('same of tcp');
    if (bindUntagged) expect(await rap.call('both')).toBe('both');
    else expect(await rejection(rap.call('both'))).toBeInstanceOf(FuncNotFoundError);
    expect(await rejection(rap.call('tcp'))).toBeInstanceOf(FuncNotFoundError);
    expect(await rap.call('/math/same')).toBe('same of rap');
    if (bindUntagged) {
      expect(await rap.call('rap')).toBe('rap');
      rap.emit('event', 1);
      await eventually('the event', () => seen.length);
      expect(seen).toEqual(['rap']);
    }
  });

  it('two rap servers in one application, each with its port', async () => {
    const made = await hybrid({});
    const second = new RapServer({ host: '127.0.0.1', port: 0 });
    made.app.connectMicroservice<MicroserviceOptions>({ strategy: made.server });
    made.app.connectMicroservice<MicroserviceOptions>({ strategy: second });
    await made.app.startAllMicroservices();
    await made.app.init();
    const { port } = second.address() as net.AddressInfo;
    const other = new RapClient({ host: '127.0.0.1', port });

    expect(await made.client().call('echo', 1)).toBe(1);
    expect(await other.call('echo', 2)).toBe(2);
    other.close();
  });

  it('an event with handlers in two rap servers runs once in each', async () => {
    const got: string[] = [];
    @Controller()
    class EventController {
      @EventPattern('e') first(): Observable<number> {
        got.push('first');
        return of(1);
      }
      @EventPattern('e') second(): void {
        got.push('second');
      }
    }
    const made = await hybrid({ controllers: [EventController] });
    const other = new RapServer({ host: '127.0.0.1', port: 0 });
    made.app.connectMicroservice<MicroserviceOptions>({ strategy: made.server });
    made.app.connectMicroservice<MicroserviceOptions>({ strategy: other });
    await made.app.startAllMicroservices();

    made.client().emit('e', 1);
    await eventually('both handlers', () => got.length === 2);
    const late = made.client();
    await late.connect();

    expect(got.toSorted()).toEqual(['first', 'second']);
  });
});

it('startAllMicroservices rejects when the port of rap is taken', async () => {
  const blocker = net.createServer();
  await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
  scope.defer(() => blocker.close());
  const { port } = blocker.address() as net.AddressInfo;
  const made = await hybrid({}, { server: { port } });
  made.app.connectMicroservice<MicroserviceOptions>({ strategy: made.server });

  expect(await rejection(made.app.startAllMicroservices())).toMatchObject({ code: 'EADDRINUSE' });
});
