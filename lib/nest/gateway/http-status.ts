import { LocalCode } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import { isHttpErrorStatus } from '../../protocol/wire-error.js';
import { RUN_TIMEOUT } from '../../rpc/time/own-timeout.js';
import { InvokeError, type RapError } from '../errors/errors.js';

const INTERNAL = 500;
const BAD_GATEWAY = 502;
const UNAVAILABLE = 503;
const GATEWAY_TIMEOUT = 504;
/** nginx's number for a client that has gone: nobody reads the answer, access logs do. */
const CLIENT_CLOSED_REQUEST = 499;

/** Where a call failed before, or in place of, its answer. The code says more than the status that it shares. */
const BY_CODE: ReadonlyMap<string, number> = new Map([
  [LocalCode.ConnectionLost, UNAVAILABLE],
  [LocalCode.CallTimeout, GATEWAY_TIMEOUT],
  [LocalCode.CallCancelled, CLIENT_CLOSED_REQUEST],
  [LocalCode.Overload, UNAVAILABLE],
] satisfies [string, number][]);

const BY_STATUS: ReadonlyMap<number, number> = new Map([
  [Status.Invoke, INTERNAL],
  [Status.Auth, 401],
  // the gateway asks for a function that its server does not have: nothing that the HTTP client could mend
  [Status.FuncNotFound, BAD_GATEWAY],
  [Status.TooManyRequests, 429],
  [Status.Server, INTERNAL],
  [Status.LifeCycle, BAD_GATEWAY],
  [Status.Parse, 400],
  [Status.Protocol, BAD_GATEWAY],
  [Status.Registered, BAD_GATEWAY],
  [Status.RunTime, GATEWAY_TIMEOUT],
  [Status.RpcCall, BAD_GATEWAY],
  [Status.Crypto, BAD_GATEWAY],
  [Status.Channel, BAD_GATEWAY],
  [Status.ChannelLifeCycle, BAD_GATEWAY],
] satisfies [number, number][]);

/**
 * The HTTP status with which a gateway answers for an error of rap: the error's own `httpStatus`, which came with it
 * where an HTTP exception was thrown, else what its code or status says. A status of the application's that is one of
 * HTTP's (409) is taken as it is.
 */
export function toHttpStatus(error: RapError): number {
  const { httpStatus, code, status } = error;
  if (isHttpErrorStatus(httpStatus)) return httpStatus;
  // the server's own run timeout, in rap's words
  if (error instanceof InvokeError && error.remoteName === RUN_TIMEOUT) return GATEWAY_TIMEOUT;
  const known = BY_CODE.get(code) ?? BY_STATUS.get(status);
  return known ?? (isHttpErrorStatus(status) ? status : INTERNAL);
}
