import { LocalCode } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import { isHttpErrorStatus } from '../../protocol/wire-error.js';
import { RUN_TIMEOUT } from '../../protocol/status.js';
import { InvokeError, type RapError } from '../errors/errors.js';

const INTERNAL = 500;
const BAD_GATEWAY = 502;
const UNAVAILABLE = 503;
const GATEWAY_TIMEOUT = 504;
/** nginx's number for a client that has disconnected: only access logs show it. */
const CLIENT_CLOSED_REQUEST = 499;

/** Failures without an answer. The code says more than the status, which others share. */
const BY_CODE: ReadonlyMap<string, number> = new Map([
  [LocalCode.ConnectionLost, UNAVAILABLE],
  [LocalCode.CallTimeout, GATEWAY_TIMEOUT],
  [LocalCode.CallCancelled, CLIENT_CLOSED_REQUEST],
  [LocalCode.Overload, UNAVAILABLE],
] satisfies [string, number][]);

const BY_STATUS: ReadonlyMap<number, number> = new Map([
  [Status.Invoke, INTERNAL],
  [Status.Auth, 401],
  // the gateway calls a function that its server does not have: the HTTP client cannot fix that
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
 * The HTTP status with which a gateway answers for an error of rap: its `httpStatus`, which it has if an HTTP exception was
 * thrown, else that of its code or status. A status of the application that is also one of HTTP (409) is used as it is.
 */
export function toHttpStatus(error: RapError): number {
  const { httpStatus, code, status } = error;
  if (isHttpErrorStatus(httpStatus)) return httpStatus;
  // the run timeout of the server, under rap's name
  if (error instanceof InvokeError && error.remoteName === RUN_TIMEOUT) return GATEWAY_TIMEOUT;
  const known = BY_CODE.get(code) ?? BY_STATUS.get(status);
  return known ?? (isHttpErrorStatus(status) ? status : INTERNAL);
}
