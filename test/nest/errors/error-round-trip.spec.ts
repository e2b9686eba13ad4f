import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import * as nest from '@nestjs/common';
import { Controller, Get, HttpException, Module, ValidationPipe } from '@nestjs/common';
import { APP_FILTER, NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { IsInt } from 'class-validator';
import * as rap from '../../../lib/index.js';
import { RapError, RapExceptionFilter, registerError, type RapErrorOptions } from '../../../lib/index.js';
import { RecordingLogger } from '../../helpers/app.js';
import { rejection, testScope } from '../../helpers/async.js';

const scope = testScope();

class OutOfStockError extends RapError {
  constructor(message: string, options?: RapErrorOptions) {
    super(message, { status: 1005, code: 'ERR_OUT_OF_STOCK', httpStatus: 409, ...options });
  }
}
registerError(OutOfStockError);

class CountDto {
  @IsInt() n!: number;
}

/** What the handler throws, in this test. */
let thrown: unknown;

@Controller()
class ThrowingController {
  @MessagePattern('throw') throw(): never {
    throw thrown;
  }
  @MessagePattern('validated') validated(@Payload(new ValidationPipe()) _data: CountDto): void {}
  @MessagePattern('guarded') @nest.UseGuards({ canActivate: () => false }) guarded(): void {}
  @MessagePattern('slow', { timeoutMs: 20 }) slow(): Promise<never> {
    return new Promise(() => {});
  }
}

interface Row {
  /** Thrown in a handler, or the function that fails by itself. */
  thrown?: unknown;
  target?: string;
  exposed?: boolean;
  arrives: {
    name: string;
    status: number;
    code: string;
    wireStatus?: number;
    message: string;
    details?: unknown;
    httpStatus?: number | undefined;
    remoteName?: string;
    sent?: string;
    phase?: string;
  };
  /** What an HTTP client of the gateway gets; by default the message and details that arrived. */
  http: { status: number; message?: string; details?: unknown };
}

const details = { field: 'a', at: { shelf: [{ no: 7 }] } };
const SERVER = {
  name: 'ServerError',
  status: 500,
  code: 'ERR_RAP_SERVER',
  message: 'Internal server error',
};
const MASKED = { status: 500, message: 'Internal server error', details: undefined };
const BAD_GATEWAY = { status: 502, message: 'Bad gateway', details: undefined };
const UNAVAILABLE = { status: 503, message: 'Service unavailable', details: undefined };
const TIMEOUT = { status: 504, message: 'Gateway timeout', details: undefined };

function ofRap(
  name: string,
  status: number,
  code: string,
  http: Row['http'],
  more: object = {},
): [string, Row] {
  const Class = (rap as unknown as Record<string, new (text: string, options: object) => RapError>)[name];
  if (!Class) throw new Error(`no class ${name}`);
  return [
    name,
    {
      thrown: new Class('text', { details }),
      arrives: { name, status, code, message: 'text', details, ...more },
      http,
    },
  ];
}

function ofHttp(name: string, httpStatus: number, as: Partial<Row['arrives']> = {}): [string, Row] {
  const Class = (nest as unknown as Record<string, new (text: string) => HttpException>)[name];
  if (!Class) throw new Error(`no class ${name}`);
  return [
    name,
    {
      thrown: new Class('text'),
      arrives: {
        name: 'InvokeError',
        status: httpStatus,
        wireStatus: as.status ?? 301,
        code: 'ERR_RAP_INVOKE',
        message: 'text',
        ...(as.name ? {} : { remoteName: name }),
        httpStatus,
        ...as,
      },
      http: { status: httpStatus },
    },
  ];
}

const PARSE = { name: 'ParseError', status: 1002, code: 'ERR_RAP_PARSE' };
const AUTH = { name: 'AuthError', status: 401, code: 'ERR_RAP_AUTH' };

const circular: Record<string, unknown> = {};
circular['self'] = circular;

const rows: [string, Row][] = [
  // every class of the package; the local ones are what a handler's own call met
  ofRap('RapError', 1006, 'ERR_RAP_RPC_CALL', BAD_GATEWAY, { name: 'RpcCallError' }),
  ofRap('InvokeError', 301, 'ERR_RAP_INVOKE', MASKED, { remoteName: 'Error' }),
  ofRap('AuthError', 401, 'ERR_RAP_AUTH', { status: 401 }),
  ofRap('FuncNotFoundError', 404, 'ERR_RAP_FUNC_NOT_FOUND', BAD_GATEWAY),
  ofRap('TooManyRequestsError', 429, 'ERR_RAP_TOO_MANY_REQUESTS', { status: 429 }),
  ofRap('ServerError', 500, 'ERR_RAP_SERVER', MASKED),
  ofRap('LifeCycleError', 1001, 'ERR_RAP_LIFE_CYCLE', BAD_GATEWAY),
  ofRap('ParseError', 1002, 'ERR_RAP_PARSE', { status: 400 }),
  ofRap('ProtocolError', 1003, 'ERR_RAP_PROTOCOL', BAD_GATEWAY),
  ofRap('RegisteredError', 1004, 'ERR_RAP_REGISTERED', BAD_GATEWAY),
  ofRap('RunTimeError', 1005, 'ERR_RAP_RUN_TIME', TIMEOUT),
  ofRap('RpcCallError', 1006, 'ERR_RAP_RPC_CALL', BAD_GATEWAY),
  ofRap('CryptoError', 1007, 'ERR_RAP_CRYPTO', BAD_GATEWAY),
  ofRap('ChannelError', 1008, 'ERR_RAP_CHANNEL', BAD_GATEWAY),
  ofRap('ChannelLifecycleError', 10081, 'ERR_RAP_CHANNEL_LIFE_CYCLE', BAD_GATEWAY),
  ofRap('ConnectionLostError', 1006, 'ERR_RAP_CONNECTION_LOST', UNAVAILABLE, { sent: 'unknown' }),
  ofRap('CallTimeoutError', 1005, 'ERR_RAP_CALL_TIMEOUT', TIMEOUT, { phase: 'response' }),
  ofRap('CallCancelledError', 1006, 'ERR_RAP_CALL_CANCELLED', { status: 499 }),
  ofRap('OverloadError', 429, 'ERR_RAP_OVERLOAD', UNAVAILABLE, { sent: 'unknown' }),

  // what is safe to repeat for the server is not for its caller: the handler has run
  [
    'ConnectionLostError of a call that was not sent',
    {
      thrown: new rap.ConnectionLostError('text', { sent: 'no' }),
      arrives: {
        name: 'ConnectionLostError',
        status: 1006,
        code: 'ERR_RAP_CONNECTION_LOST',
        message: 'text',
        sent: 'unknown',
      },
      http: UNAVAILABLE,
    },
  ],
  [
    'CallTimeoutError of a call that was not sent',
    {
      thrown: new rap.CallTimeoutError('text', { phase: 'connect' }),
      arrives: {
        name: 'CallTimeoutError',
        status: 1005,
        code: 'ERR_RAP_CALL_TIMEOUT',
        message: 'text',
        phase: 'response',
      },
      http: TIMEOUT,
    },
  ],

  // Nest's HTTP family
  ofHttp('BadRequestException', 400, PARSE),
  ofHttp('UnauthorizedException', 401, AUTH),
  ofHttp('ForbiddenException', 403, AUTH),
  ofHttp('NotFoundException', 404),
  ofHttp('MethodNotAllowedException', 405),
  ofHttp('NotAcceptableException', 406),
  ofHttp('RequestTimeoutException', 408),
  ofHttp('ConflictException', 409),
  ofHttp('GoneException', 410),
  ofHttp('PreconditionFailedException', 412),
  ofHttp('PayloadTooLargeException', 413),
  ofHttp('UnsupportedMediaTypeException', 415),
  ofHttp('ImATeapotException', 418),
  ofHttp('MisdirectedException', 421),
  ofHttp('UnprocessableEntityException', 422, PARSE),
  ofHttp('InternalServerErrorException', 500, { ...SERVER, message: 'text' }),
  ofHttp('NotImplementedException', 501),
  ofHttp('BadGatewayException', 502),
  ofHttp('ServiceUnavailableException', 503),
  ofHttp('GatewayTimeoutException', 504),
  ofHttp('HttpVersionNotSupportedException', 505),
  [
    'HttpException 429',
    {
      thrown: new HttpException('slower', 429),
      arrives: {
        name: 'TooManyRequestsError',
        status: 429,
        code: 'ERR_RAP_TOO_MANY_REQUESTS',
        message: 'slower',
        httpStatus: 429,
      },
      http: { status: 429 },
    },
  ],
  [
    'HttpException with a body and a code of its own',
    {
      thrown: new HttpException({ message: 'version 3 exists', version: 3 }, 409, {
        errorCode: 'VERSION',
      }),
      arrives: {
        name: 'InvokeError',
        status: 409,
        code: 'VERSION',
        message: 'version 3 exists',
        details: { message: 'version 3 exists', version: 3 },
        remoteName: 'HttpException',
        httpStatus: 409,
      },
      http: { status: 409 },
    },
  ],
  [
    'HttpException with an Error in place of a body',
    {
      thrown: new HttpException(new Error('secret') as never, 503),
      arrives: { ...SERVER, httpStatus: 503 },
      http: { status: 503 },
    },
  ],
  [
    'HttpException with a status that is none',
    {
      thrown: new HttpException('text', 700),
      arrives: {
        name: 'InvokeError',
        status: 301,
        code: 'ERR_RAP_INVOKE',
        message: 'text',
        httpStatus: undefined,
      },
      http: MASKED,
    },
  ],

  // RpcException
  [
    'RpcException with a text',
    {
      thrown: new RpcException('out of stock'),
      arrives: {
        name: 'InvokeError',
        status: 301,
        code: 'ERR_RAP_INVOKE',
        message: 'out of stock',
        remoteName: 'RpcException',
      },
      http: MASKED,
    },
  ],
  [
    'RpcException with an object',
    {
      thrown: new RpcException({ code: 'STOCK', message: 'none left', at: { shelf: [{ no: 7 }] } }),
      arrives: {
        name: 'InvokeError',
        status: 301,
        code: 'ERR_RAP_INVOKE',
        message: 'none left',
        details: { code: 'STOCK', message: 'none left', at: { shelf: [{ no: 7 }] } },
      },
      http: MASKED,
    },
  ],
  [
    'RpcException around a RapError',
    {
      thrown: new RpcException(new rap.AuthError('no', { code: 'MINE', details })),
      arrives: { name: 'AuthError', status: 401, code: 'MINE', message: 'no', details },
      http: { status: 401 },
    },
  ],
  [
    'RpcException around an HttpException',
    {
      thrown: new RpcException(new nest.NotFoundException('no user 7')),
      arrives: {
        name: 'InvokeError',
        status: 404,
        wireStatus: 301,
        code: 'ERR_RAP_INVOKE',
        message: 'no user 7',
        remoteName: 'NotFoundException',
        httpStatus: 404,
      },
      http: { status: 404 },
    },
  ],

  [
    'RpcException of a body with a status',
    {
      thrown: new RpcException({ status: 404, message: 'no user 7' }),
      arrives: {
        name: 'InvokeError',
        status: 404,
        wireStatus: 301,
        code: 'ERR_RAP_INVOKE',
        message: 'no user 7',
        details: { status: 404, message: 'no user 7' },
        httpStatus: 404,
      },
      http: { status: 404 },
    },
  ],
  [
    'RpcException of a body with a statusCode',
    {
      thrown: new RpcException({ statusCode: 409, message: 'version 3', error: 'Conflict' }),
      arrives: {
        name: 'InvokeError',
        status: 409,
        wireStatus: 301,
        code: 'ERR_RAP_INVOKE',
        message: 'version 3',
        details: { statusCode: 409, message: 'version 3', error: 'Conflict' },
        httpStatus: 409,
      },
      http: { status: 409 },
    },
  ],
  [
    'RpcException of a body with a status that is none of HTTP',
    {
      thrown: new RpcException({ status: 200, message: 'odd' }),
      arrives: {
        name: 'InvokeError',
        status: 301,
        wireStatus: 301,
        code: 'ERR_RAP_INVOKE',
        message: 'odd',
        details: { status: 200, message: 'odd' },
      },
      http: { ...MASKED },
    },
  ],

  // classes and statuses of the application
  [
    'a registered class',
    {
      thrown: new OutOfStockError('none left', { details }),
      arrives: {
        name: 'OutOfStockError',
        status: 1005,
        code: 'ERR_OUT_OF_STOCK',
        message: 'none left',
        details,
        httpStatus: 409,
      },
      http: { status: 409 },
    },
  ],
  [
    'a status of HTTP, as it is',
    {
      thrown: new RapError('gone', { status: 410, code: 'GONE' }),
      arrives: { name: 'RapError', status: 410, code: 'GONE', message: 'gone' },
      http: { status: 410 },
    },
  ],
  [
    'a status of its own',
    {
      thrown: new RapError('odd', { status: 4711 }),
      arrives: { name: 'RapError', status: 4711, code: 'ERR_RAP_UNKNOWN', message: 'odd' },
      http: MASKED,
    },
  ],
  [
    'details with an integer beyond 2^53 and bytes',
    {
      thrown: new rap.ParseError('text', { details: { n: 2n ** 60n } }),
      arrives: { ...PARSE, message: 'text', details: { n: 2n ** 60n } },
      http: { status: 400, details: { n: String(2n ** 60n) } },
    },
  ],

  // what fails by itself
  [
    'a validation pipe',
    {
      target: 'validated',
      arrives: { ...PARSE, message: 'n must be an integer number', httpStatus: 400 },
      http: { status: 400 },
    },
  ],
  [
    'a guard',
    {
      target: 'guarded',
      arrives: { ...AUTH, message: 'Forbidden resource', httpStatus: 403 },
      http: { status: 403 },
    },
  ],
  [
    'the run timeout',
    {
      target: 'slow',
      arrives: {
        name: 'InvokeError',
        status: 301,
        code: 'ERR_RAP_INVOKE',
        message: 'Call slow timeout',
        remoteName: 'RpcRunTimeError',
      },
      http: TIMEOUT,
    },
  ],
  [
    'no such function',
    {
      target: 'nope',
      arrives: {
        name: 'FuncNotFoundError',
        status: 404,
        code: 'ERR_RAP_FUNC_NOT_FOUND',
        message: 'Not found func. name: nope, group: default',
      },
      http: BAD_GATEWAY,
    },
  ],

  // everything else is masked
  ['an Error', { thrown: new TypeError('secret'), arrives: SERVER, http: MASKED }],
  ['undefined', { thrown: undefined, arrives: SERVER, http: MASKED }],
  ['null', { thrown: null, arrives: SERVER, http: MASKED }],
  ['a text', { thrown: 'secret', arrives: SERVER, http: MASKED }],
  ['a symbol', { thrown: Symbol('secret'), arrives: SERVER, http: MASKED }],
  ['a circular object', { thrown: circular, arrives: SERVER, http: MASKED }],
  [
    'a getter that throws',
    {
      thrown: {
        get message() {
          throw new Error('secret');
        },
      },
      arrives: SERVER,
      http: MASKED,
    },
  ],
  [
    'an Error, exposed',
    {
      thrown: new TypeError('x is not a function'),
      exposed: true,
      arrives: {
        name: 'InvokeError',
        status: 301,
        code: 'ERR_RAP_INVOKE',
        message: 'x is not a function',
        remoteName: 'TypeError',
      },
      http: MASKED,
    },
  ],
];

/** An HTTP application whose only route calls the rap server and does nothing about errors. */
async function startGateway(client: rap.RapClient, target: string): Promise<string> {
  @Controller()
  class GatewayController {
    @Get() get(): Promise<unknown> {
      return client.call(target, { n: 'x' });
    }
  }
  @Module({
    controllers: [GatewayController],
    providers: [{ provide: APP_FILTER, useClass: RapExceptionFilter }],
  })
  class GatewayModule {}
  const app = await NestFactory.create(GatewayModule, { logger: new RecordingLogger() });
  scope.defer(() => app.close());
  await app.listen(0, '127.0.0.1');
  const { port } = (app.getHttpServer() as { address(): AddressInfo }).address();
  return `http://127.0.0.1:${port}`;
}

it('the table has every class of the package and every HTTP exception of Nest', () => {
  const own = Object.keys(rap).filter((name) => name.endsWith('Error') && name !== 'registerError');
  const http = Object.keys(nest).filter((name) => /.Exception$/.test(name) && name !== 'IntrinsicException');
  const named = rows.map(([name]) => name.split(' ')[0]);
  expect([...own, ...http].filter((name) => !named.includes(name))).toEqual([]);
});

describe.each(rows)('%s', (_name, row) => {
  const { arrives, http, target = 'throw' } = row;

  it('arrives at the caller, and at the HTTP client of a gateway', async () => {
    const { client } = await scope.serve([ThrowingController], { exposeErrors: row.exposed === true });
    const caller = client();
    thrown = row.thrown;

    const error = await rejection(caller.call(target, { n: 'x' }, { timeoutMs: 5000 }));

    const { name, ...fields } = arrives;
    expect(error).toBeInstanceOf(RapError);
    expect(error.constructor.name).toBe(name);
    expect(error.name).toBe(name);
    expect(error).toMatchObject(fields);
    if (!('details' in arrives) && target !== 'validated') expect(error['details']).toBe(undefined);
    if (!('httpStatus' in arrives)) expect(error['httpStatus']).toBe(undefined);

    const answer = await fetch(await startGateway(caller, target));

    const { status, ...shown } = { message: arrives.message, ...http };
    expect(answer.status).toBe(status);
    const body = (await answer.json()) as Record<string, unknown>;
    expect(body).toMatchObject({ statusCode: status, code: arrives.code, message: shown.message });
    if ('details' in http) expect(body['details']).toEqual(http.details);
    else if ('details' in arrives) expect(body['details']).toEqual(arrives.details);
    expect(JSON.stringify(body)).not.toMatch(/secret|spec\.ts|node_modules/);
  });
});
