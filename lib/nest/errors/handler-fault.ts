import { Fault } from '../../protocol/fault.js';
import { isErrorStatus, Status } from '../../protocol/status.js';
import { isObject } from '../../protocol/values/unknown.js';
import { isHttpErrorStatus, type NamedFault, nameOf } from '../../protocol/wire-error.js';
import { InvokeError, RapError, ServerError, shownStatus } from './errors.js';
import { toRapError } from './to-rap-error.js';
import { isRpcException, type RpcExceptionLike } from './error-brand.js';
import { registeredName } from './registered-errors.js';
import { areValidationErrors, validationDetails } from './validation-details.js';

/** The message with which Nest masks an error that no filter knows. */
export const MASKED_MESSAGE = 'Internal server error';
/** The message of the `RpcException` that Nest throws if a guard refuses. Over HTTP it is a 403. */
const FORBIDDEN_MESSAGE = 'Forbidden resource';
const HTTP_FORBIDDEN = 403;

/**
 * Turns what a handler and its filters threw into a fault. Nest passes on what `RpcException.getError()` returned, or
 * `{ status: 'error', message }`; a user's filter may pass on anything. Nothing of it is trusted: a getter may throw, a text
 * may be long, and a stack is never sent.
 */
export function handlerFault(error: unknown): NamedFault {
  try {
    return read(error);
  } catch {
    return masked();
  }
}

/** The failure of a handler as the error that its caller gets. */
export function callerError(error: unknown): RapError {
  const { fault, name } = handlerFault(error);
  const { status, code, message, details, httpStatus, remoteName, retry } = fault;
  const asReceived = { status, code, message, details, httpStatus, remoteName, retry, errorName: name };
  return error instanceof RapError ? error : (toRapError(new Fault(asReceived)) as RapError);
}

function masked(httpStatus?: number): NamedFault {
  return {
    fault: new Fault({ status: Status.Server, message: MASKED_MESSAGE, httpStatus }),
    name: 'ServerError',
  };
}

/** Whether the caller may see an error. A hostile error may throw when it is read. */
export function isMeantForCaller(error: unknown): boolean {
  try {
    return isRpcException(error) || error instanceof Fault || isHttpException(error);
  } catch {
    return false;
  }
}

/** Does what Nest's last filter does, for an error that no filter has seen: logs it, and hides it from the caller. */
export function maskError(error: unknown, log: (error: unknown) => void): unknown {
  if (isMeantForCaller(error)) return error;
  log(error);
  return new ServerError(MASKED_MESSAGE);
}

function read(error: unknown): NamedFault {
  if (error instanceof RapError) {
    const { code, message, details, httpStatus } = error;
    const retry = error.retry === false ? error.retry : undefined; // a subclass may have made anything of it
    const name = registeredName(error.constructor) ?? error.name;
    const given = error.status === shownStatus(error) ? error.wireStatus : error.status;
    const status = Number.isInteger(given) && isErrorStatus(given) ? given : Status.RpcCall;
    const remoteName = error instanceof InvokeError ? error.remoteName : undefined;
    const texts = { code: asText(code), message: asText(message) };
    const fault = new Fault({ status, ...texts, details, remoteName, httpStatus, retry });
    // the name of the base class says less than the status
    return { fault, name: name === 'RapError' ? nameOf(fault) : asText(name) };
  }
  if (error instanceof Fault) return { fault: error, name: nameOf(error) };
  if (isRpcException(error)) return readInner(error);
  if (isHttpException(error)) return httpFault(error);
  if (error instanceof Error) {
    return invokeFault({
      remoteName: error.name,
      message: error.message,
      httpStatus: statusGiven(error),
    });
  }
  if (typeof error === 'string') return invokeFault({ remoteName: 'RpcException', message: error });
  if (!isObject(error)) {
    return invokeFault({ remoteName: 'Error', message: String(error) });
  }
  if (areValidationErrors(error)) return validationFault(error);
  const { message, name } = error as { message?: unknown; name?: unknown };
  const text = typeof message === 'string' ? message : 'the function failed';
  if (isNestError(error)) {
    if (text === MASKED_MESSAGE) return masked();
    if (text === FORBIDDEN_MESSAGE) {
      const fault = new Fault({ status: Status.Auth, message: text, httpStatus: HTTP_FORBIDDEN });
      return { fault, name: 'AuthError' };
    }
    return invokeFault({ remoteName: 'RpcException', message: text });
  }
  const remoteName = typeof name === 'string' ? name : 'RpcException';
  return invokeFault({ remoteName, message: text, details: error, httpStatus: statusGiven(error) });
}

/** Reads what an `RpcException` was made with; one that returns itself is read as any other error. */
function readInner(error: RpcExceptionLike): NamedFault {
  const inner: unknown = error.getError();
  if (inner !== error) return read(inner);
  return invokeFault({ remoteName: error.name, message: error.message, httpStatus: statusGiven(error) });
}

/** The HTTP status of `new RpcException({ status: 404, message })`, or of the body of an `HttpException`. */
function statusGiven(error: object): number | undefined {
  const { status, statusCode } = error as { status?: unknown; statusCode?: unknown };
  return [status, statusCode].find(isHttpErrorStatus);
}

/** Nest's `HttpException`, as shared guards, pipes and services throw it. */
interface HttpExceptionLike extends Error {
  getStatus(): number;
  getResponse(): string | object;
  /** Nest 12 */
  errorCode?: unknown;
}

/** Recognised by its methods: an application may have more than one copy of `@nestjs/common`. */
export function isHttpException(error: unknown): error is HttpExceptionLike {
  if (!(error instanceof Error)) return false;
  const { getStatus, getResponse } = error as Partial<HttpExceptionLike>;
  return typeof getStatus === 'function' && typeof getResponse === 'function';
}

/** HTTP statuses with an equivalent in rap. For others the caller gets an `InvokeError` with the exception's name. */
const STATUS_OF_HTTP: ReadonlyMap<number, readonly [status: number, name: string]> = new Map([
  [400, [Status.Parse, 'ParseError']],
  [401, [Status.Auth, 'AuthError']],
  [403, [Status.Auth, 'AuthError']],
  [422, [Status.Parse, 'ParseError']],
  [429, [Status.TooManyRequests, 'TooManyRequestsError']],
  [500, [Status.Server, 'ServerError']],
]);

/** More reasons do not fit into a message, even if each is short. */
const MAX_JOINED = 512;

/** Keys of the body that Nest makes of a text; a body with other keys was made by the application. */
const STANDARD_KEYS: ReadonlySet<string> = new Set(['statusCode', 'message', 'error', 'errorCode']);

function httpFault(error: HttpExceptionLike): NamedFault {
  const httpStatus = error.getStatus();
  const response = error.getResponse();
  // an Error as the body is not for the caller
  if (response instanceof Error) return masked(httpStatus);
  const reasons = typeof response === 'object' ? bodyDetails(response) : undefined;
  if (areValidationErrors(reasons)) return validationFault(reasons, httpStatus);
  const known = STATUS_OF_HTTP.get(httpStatus);
  const details =
    (known?.[0] === Status.Parse && Array.isArray(reasons) && validationDetails(reasons)) || reasons;
  const message = Array.isArray(reasons) ? reasons.slice(0, MAX_JOINED).join('; ') : error.message;
  const code = typeof error.errorCode === 'string' ? error.errorCode : undefined;
  const [status, name] = known ?? [];
  if (status === undefined || name === undefined) {
    return invokeFault({ remoteName: error.name, message, details, code, httpStatus });
  }
  return { fault: new Fault({ status, message, details, code, httpStatus }), name };
}

/** class-validator's own errors, which an `exceptionFactory` has passed on. */
function validationFault(errors: readonly unknown[], httpStatus?: number): NamedFault {
  const details = validationDetails(errors) ?? [];
  const message = details.map((detail) => detail.message).join('; ');
  return { fault: new Fault({ status: Status.Parse, message, details, httpStatus }), name: 'ParseError' };
}

/** The reasons of a validation pipe, or a body that the application has made. */
function bodyDetails(response: object): unknown {
  const { message } = response as { message?: unknown };
  if (Array.isArray(message)) return message;
  return Object.keys(response).every((key) => STANDARD_KEYS.has(key)) ? undefined : response;
}

/** `{ status: 'error', message }`: the form of an `RpcException` with a text, and of every error that Nest masks. */
function isNestError(error: object): boolean {
  return (error as { status?: unknown }).status === 'error' && Object.keys(error).length === 2;
}

/** Names and messages of what was thrown may be anything, despite their types. */
function asText(value: unknown): string {
  return typeof value === 'string' ? value : String(value);
}

interface InvokeFault {
  readonly remoteName: string;
  readonly message: string;
  readonly details?: unknown;
  readonly code?: string | undefined;
  readonly httpStatus?: number | undefined;
}

function invokeFault({ remoteName, message, ...rest }: InvokeFault): NamedFault {
  const texts = { remoteName: asText(remoteName), message: asText(message) };
  return { fault: new Fault({ status: Status.Invoke, ...texts, ...rest }), name: 'InvokeError' };
}
