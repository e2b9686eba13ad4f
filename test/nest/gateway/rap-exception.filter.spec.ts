import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import {
  ConflictException,
  Controller,
  Get,
  Module,
  NotFoundException,
  Res,
  UseFilters,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  ClientProxyFactory,
  MessagePattern,
  type MicroserviceOptions,
  RpcException,
  Transport,
} from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import {
  AuthError,
  ConnectionLostError,
  InvokeError,
  ParseError,
  RapClient,
  RapError,
  RapExceptionFilter,
  toHttpStatus,
} from '../../../lib/index.js';
import { RecordingLogger } from '../../helpers/app.js';
import { eventually, rejection, testScope } from '../../helpers/async.js';
import { EventPattern } from '../../helpers/event-pattern.js';

const scope = testScope();

let thrown: unknown;

/** An answer as a handler of Express begins it by hand. */
interface Answer {
  write(text: string): void;
}

@Controller()
class HttpController {
  @Get('throw') throw(): never {
    throw thrown;
  }
  @Get('begun') begun(@Res() answer: Answer): never {
    answer.write('begun');
    throw thrown;
  }
}

async function startHttp(
  makeFilter: (adapter: never) => RapExceptionFilter | undefined,
  controller: new () => object = HttpController,
): Promise<{ url: string; log: RecordingLogger }> {
  class HttpModule {}
  Module({ controllers: [controller] })(HttpModule);
  const log = new RecordingLogger();
  const app = await NestFactory.create(HttpModule, { logger: log });
  const filter = makeFilter(app.getHttpAdapter() as never);
  if (filter) app.useGlobalFilters(filter);
  scope.defer(() => app.close());
  await app.listen(0, '127.0.0.1');
  const { port } = (app.getHttpServer() as { address(): AddressInfo }).address();
  return { url: `http://127.0.0.1:${port}`, log };
}

async function get(url: string): Promise<{ status: number; body: unknown }> {
  const answer = await fetch(url);
  return { status: answer.status, body: await answer.json() };
}

describe('RapExceptionFilter in an HTTP application', () => {
  const made: [string, (adapter: never) => RapExceptionFilter][] = [
    ['with its adapter', (adapter) => new RapExceptionFilter(adapter)],
    ['without', () => new RapExceptionFilter()],
  ];

  describe.each(made)('%s', (_name, make) => {
    it('answers with the status, code, message and details of a rap error', async () => {
      const { url } = await startHttp(make);
      thrown = new RapError('version 3 exists', {
        httpStatus: 409,
        code: 'VERSION',
        details: { version: 3 },
      });
      expect(await get(`${url}/throw`)).toEqual({
        status: 409,
        body: { statusCode: 409, code: 'VERSION', message: 'version 3 exists', details: { version: 3 } },
      });
    });

    it('answers the same for a rap error that was thrown again in an RpcException', async () => {
      const { url } = await startHttp(make);
      thrown = new RpcException(new RapError('version 3 exists', { httpStatus: 409, code: 'VERSION' }));
      expect(await get(`${url}/throw`)).toEqual({
        status: 409,
        body: { statusCode: 409, code: 'VERSION', message: 'version 3 exists' },
      });
    });

    it('leaves HTTP exceptions, unknown errors and unknown routes to Nest', async () => {
      const plain = await startHttp(() => undefined);
      const { url, log } = await startHttp(make);
      for (const error of [
        new ConflictException({ a: 1 }),
        new Error('secret'),
        new RpcException('secret'),
        undefined,
      ]) {
        thrown = error;
        // oxlint-disable-next-line no-await-in-loop
        expect(await get(`${url}/throw`)).toEqual(await get(`${plain.url}/throw`));
      }
      expect(await get(`${url}/nope`)).toEqual(await get(`${plain.url}/nope`));
      expect(log.lines.join()).toContain('secret');
    });

    it('ends an answer that has begun, once', async () => {
      const { url } = await startHttp(make);
      thrown = new ParseError('too late');
      const answer = await fetch(`${url}/begun`);
      expect(answer.status).toBe(200);
      expect(await answer.text()).toBe('begun');
    });
  });

  it('keeps what a fault of ours says in the log, unless it is told to show it', async () => {
    const masked = await startHttp((adapter) => new RapExceptionFilter(adapter));
    thrown = new ConnectionLostError('cannot connect to 10.0.0.3:9000: ECONNREFUSED', {
      details: { host: '10.0.0.3' },
    });

    expect(await get(`${masked.url}/throw`)).toEqual({
      status: 503,
      body: { statusCode: 503, code: 'ERR_RAP_CONNECTION_LOST', message: 'Service unavailable' },
    });
    expect(masked.log.lines).toEqual([expect.stringContaining('cannot connect to 10.0.0.3:9000') as string]);
    const open = await startHttp((adapter) => new RapExceptionFilter(adapter, { exposeErrors: true }));
    expect(await get(`${open.url}/throw`)).toMatchObject({
      status: 503,
      body: { message: 'cannot connect to 10.0.0.3:9000: ECONNREFUSED', details: { host: '10.0.0.3' } },
    });
  });

  it('does not log what the HTTP client did wrong', async () => {
    const { url, log } = await startHttp((adapter) => new RapExceptionFilter(adapter));
    thrown = new ParseError('n is missing');
    expect((await get(`${url}/throw`)).status).toBe(400);
    expect(log.lines).toEqual([]);
  });

  it('answers without details that have no JSON', async () => {
    const { url } = await startHttp((adapter) => new RapExceptionFilter(adapter));
    const circular: Record<string, unknown> = {};
    circular['self'] = circular;
    thrown = new ParseError('text', { details: circular });
    expect(await get(`${url}/throw`)).toEqual({
      status: 400,
      body: { statusCode: 400, code: 'ERR_RAP_PARSE', message: 'text' },
    });
  });

  it('works on a controller, made by Nest', async () => {
    @UseFilters(RapExceptionFilter)
    @Controller()
    class FilteredController extends HttpController {}
    const { url } = await startHttp(() => undefined, FilteredController);
    thrown = new AuthError('no');
    expect(await get(`${url}/throw`)).toMatchObject({ status: 401, body: { message: 'no' } });
  });

  it('answers 503 if there is no rap server', async () => {
    const client = new RapClient({ path: '/nonexistent/rap.sock' });
    scope.defer(() => client.close());
    @Controller()
    class ProxyController {
      @Get() get(): Promise<unknown> {
        return client.call('x');
      }
    }
    const { url } = await startHttp((adapter) => new RapExceptionFilter(adapter), ProxyController);
    expect(await get(url)).toMatchObject({ status: 503, body: { code: 'ERR_RAP_CONNECTION_LOST' } });
  });

  it('hands an HTTP status through two servers', async () => {
    @Controller()
    class InnerController {
      @MessagePattern('user') user(): never {
        throw new NotFoundException('no user 7');
      }
    }
    const inner = await scope.serve([InnerController]);
    const toInner = inner.client();
    @Controller()
    class OuterController {
      @MessagePattern('user') user(): Promise<unknown> {
        return toInner.call('user');
      }
    }
    const outer = await scope.serve([OuterController]);
    const toOuter = outer.client();
    @Controller()
    class GatewayController {
      @Get('user') user(): Promise<unknown> {
        return toOuter.call('user');
      }
    }
    const { url } = await startHttp((adapter) => new RapExceptionFilter(adapter), GatewayController);

    expect(await get(`${url}/user`)).toMatchObject({
      status: 404,
      body: { statusCode: 404, message: 'no user 7' },
    });
  });
});

describe('RapExceptionFilter in a microservice', () => {
  @Controller()
  class RpcController {
    @MessagePattern('throw') throw(): never {
      throw thrown;
    }
    @EventPattern('event') event(): never {
      throw thrown;
    }
  }

  it.each<[string, unknown, object]>([
    ['HttpException', new NotFoundException('no user 7'), { name: 'InvokeError', httpStatus: 404 }],
    ['RapError', new AuthError('no', { details: { a: 1 } }), { name: 'AuthError', details: { a: 1 } }],
    ['RpcException', new RpcException('text'), { name: 'InvokeError', message: 'text' }],
    ['Error', new Error('secret'), { name: 'ServerError', message: 'Internal server error' }],
  ])('changes nothing for rap: %s', async (_name, error, expected) => {
    thrown = error;
    const { client } = await scope.serve([RpcController], {
      prepare: (app) => app.useGlobalFilters(new RapExceptionFilter()),
    });
    expect(await rejection(client().call('throw'))).toMatchObject(expected);
  });

  it('lets what fails in an event be logged as before', async () => {
    thrown = new NotFoundException('no user 7');
    const { client, log } = await scope.serve([RpcController], {
      prepare: (app) => app.useGlobalFilters(new RapExceptionFilter()),
    });
    client().emit('event', 1);
    await eventually('the log', () => log.lines.some((line) => line.includes('no user 7')));
  });

  it.each<[string, unknown, object]>([
    [
      'HttpException',
      new NotFoundException('no user 7'),
      { name: 'InvokeError', status: 404, wireStatus: 301, message: 'no user 7', httpStatus: 404 },
    ],
    [
      'RapError',
      new AuthError('no', { details: { a: 1 } }),
      { name: 'AuthError', status: 401, code: 'ERR_RAP_AUTH', message: 'no', details: { a: 1 } },
    ],
    ['RpcException', new RpcException('text'), { status: 'error', message: 'text' }],
    ['Error', new Error('secret'), { status: 'error', message: 'Internal server error' }],
  ])("gives Nest's TCP transport the fields of %s", async (_name, error, expected) => {
    thrown = error;
    class TcpModule {}
    Module({ controllers: [RpcController] })(TcpModule);
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(TcpModule, {
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port: 0 },
      logger: new RecordingLogger(),
    });
    app.useGlobalFilters(new RapExceptionFilter());
    await app.listen();
    scope.defer(() => app.close());
    const { port } = app.unwrap<{ address(): AddressInfo }>().address();
    const client = ClientProxyFactory.create({
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port },
    });
    scope.defer(() => client.close());

    expect(await rejection(firstValueFrom(client.send('throw', {})))).toMatchObject(expected);
  });
});

it('RapExceptionFilter gives the error back if it is neither HTTP nor a microservice, as GraphQL wants it', () => {
  const error = new AuthError('no');
  const host = { getType: () => 'graphql' };
  expect(new RapExceptionFilter().catch(error, host as never)).toBe(error);
});

it('toHttpStatus takes the own status of an error first, and no nonsense', () => {
  expect(toHttpStatus(new ParseError('text'))).toBe(400);
  expect(toHttpStatus(new ParseError('text', { httpStatus: 422 }))).toBe(422);
  expect(toHttpStatus(new ParseError('text', { httpStatus: 200 }))).toBe(400);
  expect(toHttpStatus(new RapError('text', { status: 409 }))).toBe(409);
  expect(toHttpStatus(new RapError('text', { status: 600 }))).toBe(500);
  expect(toHttpStatus(new RapError('text', { status: NaN }))).toBe(500);
  expect(toHttpStatus(new InvokeError('text', { remoteName: 'RpcRunTimeError' }))).toBe(504);
  expect(toHttpStatus(new InvokeError('text', { remoteName: 'ValueError' }))).toBe(500);
});
