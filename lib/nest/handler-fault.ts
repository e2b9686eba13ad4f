import { RpcException } from '@nestjs/microservices';
import { Fault } from '../protocol/fault.js';
import { isErrorStatus, Status } from '../protocol/status.js';
import { InvokeError, RapError, ServerError } from './errors.js';

/** The text by which Nest masks an error that no filter knows. */
export const MASKED_MESSAGE = 'Internal server error';
/** The text of the `RpcException` by which Nest refuses what a guard does not let through. */
const FORBIDDEN_MESSAGE = 'Forbidden resource';

/** What a handler failed with, as the wire has it, and the class name that a peer of this project sees. */
export interface HandlerFault {
  readonly fault: Fault;
  readonly name: string;
}

/**
 * Turns whatever came out of a handler and its filters into a fault. Nest hands on what `RpcException.getError()`
 * returned, or `{ status: 'error', message }`; a user's filter may hand on anything. Nothing of it is trusted: a getter
 * may throw, a text may be long, and no stack ever leaves.
 */
export function handlerFault(error: unknown): HandlerFault {
  try {
    return read(error);
  } catch {
    return masked();
  }
}

/** Whether an error is one that tells the caller something. A hostile one may throw while it is asked. */
export function isMeantForCaller(error: unknown): boolean {
  try {
    return error instanceof RpcException || error instanceof Fault || isHttpException(error);
  } catch {
    return false;
  }
}

/** Does for an error that no filter has seen what Nest's last filter does: logs it, and gives nothing of it away. */
export function maskError(error: unknown, log: (error: unknown) => void): unknown {
  if (isMeantForCaller(error)) return error;
  log(error);
  return new ServerError(MASKED_MESSAGE);
}

function masked(): HandlerFault {
  return { fault: new Fault({ status: Status.Server, message: MASKED_MESSAGE }), name: 'ServerError' };
}

function read(error: unknown): HandlerFault {
  if (error instanceof RapError) {
    const { code, message, details, name } = error;
    const status =
      Number.isInteger(error.status) && isErrorStatus(error.status) ? error.status : Status.RpcCall;
    const remoteName = error instanceof InvokeError ? error.remoteName : undefined;
    return {
      fault: new Fault({ status, code: textOf(code), message: textOf(message), details, remoteName }),
      name: textOf(name),
    };
  }
  if (error instanceof Fault) return { fault: error, name: 'RapError' };
  if (error instanceof RpcException) return read(error.getError());
  if (isHttpException(error)) return httpFault(error);
  if (error instanceof Error) return invokeFault(error.name, error.message);
  if (typeof error === 'string') return invokeFault('RpcException', error);
  if (typeof error !== 'object' || error === null) return invokeFault('Error', String(error));
  const { message, name } = error as { message?: unknown; name?: unknown };
  const text = typeof message === 'string' ? message : 'the function failed';
  if (isNestError(error)) {
    if (text === MASKED_MESSAGE) return masked();
    if (text === FORBIDDEN_MESSAGE) {
      return { fault: new Fault({ status: Status.Auth, message: text }), name: 'AuthError' };
    }
    return invokeFault('RpcException', text);
  }
  return invokeFault(typeof name === 'string' ? name : 'RpcException', text, error);
}

/** Nest's `HttpException`, which shared guards, pipes and services throw. */
interface HttpExceptionLike extends Error {
  getStatus(): number;
  getResponse(): string | object;
}

/** By its methods: an application may have more than one copy of `@nestjs/common`. */
export function isHttpException(error: unknown): error is HttpExceptionLike {
  if (!(error instanceof Error)) return false;
  const { getStatus, getResponse } = error as Partial<HttpExceptionLike>;
  return typeof getStatus === 'function' && typeof getResponse === 'function';
}

/** HTTP statuses that say the same as one of rap. The others arrive as `InvokeError` with the exception's name. */
const STATUS_OF_HTTP: ReadonlyMap<number, readonly [status: number, name: string]> = new Map([
  [400, [Status.Parse, 'ParseError']],
  [401, [Status.Auth, 'AuthError']],
  [403, [Status.Auth, 'AuthError']],
  [422, [Status.Parse, 'ParseError']],
  [429, [Status.TooManyRequests, 'TooManyRequestsError']],
  [500, [Status.Server, 'ServerError']],
]);

function httpFault(error: HttpExceptionLike): HandlerFault {
  const response = error.getResponse();
  const reasons = typeof response === 'object' ? (response as { message?: unknown }).message : undefined;
  // a validation pipe lists its reasons
  const details = Array.isArray(reasons) ? reasons : undefined;
  const message = details ? details.join('; ') : error.message;
  const [status, name] = STATUS_OF_HTTP.get(error.getStatus()) ?? [];
  if (status === undefined || name === undefined) return invokeFault(error.name, message, details);
  return { fault: new Fault({ status, message, details }), name };
}

/** `{ status: 'error', message }`: what Nest makes of an `RpcException` with a text, and of everything it masks. */
function isNestError(error: object): boolean {
  return (error as { status?: unknown }).status === 'error' && Object.keys(error).length === 2;
}

/** Names and messages of what was thrown may be anything, whatever their types say. */
function textOf(value: unknown): string {
  return typeof value === 'string' ? value : String(value);
}

function invokeFault(remoteName: string, message: string, details?: unknown): HandlerFault {
  return {
    fault: new Fault({
      status: Status.Invoke,
      message: textOf(message),
      remoteName: textOf(remoteName),
      details,
    }),
    name: 'InvokeError',
  };
}
