import { ThrownFault } from '../../pipeline/thrown-fault.js';
import { Fault, LocalCode } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import {
  AuthError,
  CallCancelledError,
  CallTimeoutError,
  ChannelError,
  ChannelLifecycleError,
  ConnectionLostError,
  CryptoError,
  FuncNotFoundError,
  InvokeError,
  LifeCycleError,
  OverloadError,
  ParseError,
  ProtocolError,
  RapError,
  RegisteredError,
  RpcCallError,
  RunTimeError,
  ServerError,
  TooManyRequestsError,
  type RapErrorClass,
} from './errors.js';
import { registeredErrorOf } from './registered-errors.js';

const LOCAL_CLASSES: ReadonlyMap<string, readonly [status: number, Class: RapErrorClass]> = new Map([
  [LocalCode.ConnectionLost, [Status.RpcCall, ConnectionLostError]],
  [LocalCode.CallTimeout, [Status.RunTime, CallTimeoutError]],
  [LocalCode.CallCancelled, [Status.RpcCall, CallCancelledError]],
  [LocalCode.Overload, [Status.TooManyRequests, OverloadError]],
] satisfies [string, [number, RapErrorClass]][]);

const CLASS_BY_STATUS: ReadonlyMap<number, RapErrorClass> = new Map([
  [Status.Invoke, InvokeError],
  [Status.Auth, AuthError],
  [Status.FuncNotFound, FuncNotFoundError],
  [Status.TooManyRequests, TooManyRequestsError],
  [Status.Server, ServerError],
  [Status.LifeCycle, LifeCycleError],
  [Status.Parse, ParseError],
  [Status.Protocol, ProtocolError],
  [Status.Registered, RegisteredError],
  [Status.RunTime, RunTimeError],
  [Status.RpcCall, RpcCallError],
  [Status.Crypto, CryptoError],
  [Status.Channel, ChannelError],
  [Status.ChannelLifeCycle, ChannelLifecycleError],
] satisfies [number, RapErrorClass][]);

/**
 * The public error of a fault: what a processor of this side has thrown, else an error of the class that is registered
 * under its name, else of the class of its local code, else of its status. Anything else stays as it is.
 */
export function toRapError(error: unknown): unknown {
  if (!(error instanceof Fault)) return error;
  if (error instanceof ThrownFault) return error.thrown;
  const shown = registeredErrorOf(error) ?? ownErrorOf(error);
  const { attempts: value } = error;
  // a class of the application may have a field of this name
  if (value && !('attempts' in shown))
    Reflect.defineProperty(shown, 'attempts', { value, enumerable: true, configurable: true });
  return shown;
}

function ownErrorOf(error: Fault): RapError {
  const { status, code, details, httpStatus, remoteName, sent, phase, cause, retry } = error;
  const [localStatus, localClass] = LOCAL_CLASSES.get(code) ?? [];
  const Class = (localStatus === status ? localClass : undefined) ?? CLASS_BY_STATUS.get(status) ?? RapError;
  const options = { status, code, details, httpStatus, remoteName, sent, phase, cause, retry };
  return new Class(error.message, options);
}
