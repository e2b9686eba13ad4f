import { type ArgumentsHost, Catch, Logger, Optional, type HttpServer } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { BaseRpcExceptionFilter } from '@nestjs/microservices';
import { throwError, type Observable } from 'rxjs';
import { faultLog } from '../lifecycle/bounded-log.js';
import { isRpcException } from '../errors/error-brand.js';
import { RapError } from '../errors/errors.js';
import { callerError, isHttpException } from '../errors/handler-fault.js';
import { toHttpStatus } from './http-status.js';
import { assertKnown, type Keys } from '../validation/known-options.js';
import { RapContext } from '../handlers/rap-context.js';

export interface RapExceptionFilterOptions {
  /** Show messages and details of 5xx answers to HTTP clients, instead of the name of the status. Default false. */
  exposeErrors?: boolean | undefined;
}

const OPTIONS: Keys<RapExceptionFilterOptions> = {
  exposeErrors: true,
};

/**
 * Translates errors between HTTP and rap, both ways.
 *
 * - In an HTTP application, an error that a `RapClient` threw is answered with its HTTP status ({@link toHttpStatus}) and
 *   `{ statusCode, code, message, details }`.
 * - In a microservice, `HttpException` and its family become rap errors. `RapServer` does that without the filter; other
 *   transports of Nest mask them.
 *
 * Everything else goes to Nest's own filters.
 *
 *     providers: [{ provide: APP_FILTER, useClass: RapExceptionFilter }]
 *     app.useGlobalFilters(new RapExceptionFilter(app.getHttpAdapter()));
 */
@Catch()
export class RapExceptionFilter extends BaseExceptionFilter {
  readonly #logger = new Logger('RapExceptionFilter');
  readonly #rpcFilter = new BaseRpcExceptionFilter();

  /** @param adapter of the HTTP application; Nest injects it if it makes the filter */
  constructor(
    @Optional() adapter?: HttpServer,
    @Optional() private readonly options: RapExceptionFilterOptions = {},
  ) {
    super(adapter);
    assertKnown('RapExceptionFilter', options, OPTIONS);
  }

  /** @returns the error itself outside of HTTP and microservices, as GraphQL requires */
  override catch(exception: unknown, host: ArgumentsHost): unknown {
    switch (host.getType<string>()) {
      case 'http':
        return this.#answer(exception, host);
      case 'rpc':
        return this.#fail(exception, host);
      default:
        return exception;
    }
  }

  #answer(thrown: unknown, host: ArgumentsHost): void {
    const exception = unwrapped(thrown);
    const adapter = this.applicationRef ?? this.httpAdapterHost?.httpAdapter ?? ANY_ADAPTER;
    if (!(exception instanceof RapError)) {
      return new BaseExceptionFilter(adapter as HttpServer).catch(exception, host);
    }
    const statusCode = toHttpStatus(exception);
    const isOurs = statusCode >= 500;
    if (isOurs)
      faultLog.write(
        (line) => this.#logger.error(line),
        () => exception,
      );
    const response = host.switchToHttp().getResponse<object>();
    if (adapter.isHeadersSent(response)) return adapter.end(response);
    const isTold = !isOurs || this.options.exposeErrors === true || exception.httpStatus !== undefined;
    adapter.reply(response, bodyOf(exception, statusCode, isTold), statusCode);
  }

  #fail(exception: unknown, host: ArgumentsHost): Observable<unknown> {
    // with a RapContext, RapServer handles what Nest's filter masks, and HTTP exceptions
    const isRap = host.switchToRpc().getContext<unknown>() instanceof RapContext;
    if (!isRap && isHttpException(exception)) return throwError(() => callerError(exception));
    return this.#rpcFilter.catch(exception, host);
  }
}

/** An error of rap that was thrown again as `new RpcException(error)`. */
function unwrapped(exception: unknown): unknown {
  if (!isRpcException(exception) || exception instanceof RapError) return exception;
  const inner: unknown = exception.getError();
  return inner instanceof RapError ? inner : exception;
}

/** The body of the answer. Messages of 5xx errors may name servers and addresses: those are for the log. */
function bodyOf(error: RapError, statusCode: number, isTold: boolean): object {
  const { code, message, details } = error;
  if (!isTold) return { statusCode, code, message: FAULT_TEXTS.get(statusCode) ?? 'Internal server error' };
  const json = jsonOf(details);
  return { statusCode, code, message, ...(json === undefined ? {} : { details: json }) };
}

const FAULT_TEXTS: ReadonlyMap<number, string> = new Map([
  [502, 'Bad gateway'],
  [503, 'Service unavailable'],
  [504, 'Gateway timeout'],
]);

/** Details as JSON: an integer above 2^53 is a bigint, which JSON cannot carry. */
function jsonOf(details: unknown): unknown {
  try {
    const json = JSON.stringify(details, (_key, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    ) as string | undefined;
    return json === undefined ? undefined : (JSON.parse(json) as unknown);
  } catch {
    return undefined;
  }
}

interface AnyResponse {
  readonly headersSent?: boolean;
  readonly sent?: boolean;
  status(code: number): { send(body: unknown): unknown };
  end?(): unknown;
}

/** For a filter without an adapter: the methods that responses of Express and Fastify share. */
const ANY_ADAPTER = {
  isHeadersSent: (response: object) => {
    const { headersSent, sent } = response as AnyResponse;
    return headersSent === true || sent === true;
  },
  reply: (response: object, body: unknown, statusCode: number) =>
    void (response as AnyResponse).status(statusCode).send(body),
  end: (response: object) => void (response as AnyResponse).end?.(),
};
