import { RpcException } from '@nestjs/microservices';
import { LocalCode, type Sent, type TimeoutPhase } from '../../protocol/fault.js';
import { CODE_BY_STATUS, Status } from '../../protocol/status.js';
import { isHttpErrorStatus } from '../../protocol/wire-error.js';
import { brand, isInstance } from './error-brand.js';

/** What a {@link RapError} may carry beside its message. */
export interface RapErrorOptions {
  /** Status on the wire. Default: the class's own, 1006 for `RapError`. */
  status?: number | undefined;
  /** Stable code, `'ERR_RAP_...'` by default; an own one travels as it is. */
  code?: string | undefined;
  /** More for the caller's program: at most 4 KiB. Deeper than two levels it travels as JSON. */
  details?: unknown;
  /** The status with which an HTTP gateway answers, 400 to 599. Default: what `RapExceptionFilter` makes of the class. */
  httpStatus?: number | undefined;
  /** What caused it; stays on this side. */
  cause?: unknown;
  /** For {@link InvokeError}: name of the exception that the function raised. */
  remoteName?: string | undefined;
  /** For {@link ConnectionLostError} and {@link OverloadError}: whether the call may have reached the server. */
  sent?: Sent | undefined;
  /** For {@link CallTimeoutError}: what the call was waiting for. */
  phase?: TimeoutPhase | undefined;
}

/** What a client called that failed. */
export interface FailedCall {
  /** `/group/name`. */
  readonly target: string;
  /** The server, as the client's options name it: `localhost:9000`, or the path of a Unix socket. */
  readonly server: string;
  /** From the call to its error, in milliseconds. */
  readonly afterMs?: number;
}

/**
 * An error of rap. Thrown in a handler, the same class arrives at the caller with the same status, code, message and
 * details; Nest's filters see an `RpcException`.
 */
export class RapError extends RpcException {
  override name = 'RapError';
  /** Status on the wire; of a function that failed (301) the HTTP status that its handler gave, if it gave one. */
  readonly status: number;
  /** Status on the wire. */
  readonly wireStatus: number;
  /** Stable code for programs: `'ERR_RAP_...'`. */
  readonly code: string;
  readonly details: unknown;
  /** The status by which HTTP says the same, where the one who threw it knew; else `undefined`. */
  readonly httpStatus: number | undefined;
  override readonly cause?: unknown;
  /** At the client: the call that failed. It stays on this side, and is not enumerable. */
  declare readonly call?: FailedCall;

  /** Holds for errors of another copy of this package, too. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return isInstance(this, value);
  }

  constructor(message: string, options: RapErrorOptions = {}) {
    super(message);
    const { name } = new.target;
    // a class of its own tells its own name, unless it sets another one; a minified bundle has renamed RapError itself
    if (new.target !== RapError && typeof name === 'string' && name !== '') this.name = name;
    this.wireStatus = options.status ?? Status.RpcCall;
    this.code = options.code ?? CODE_BY_STATUS[this.wireStatus] ?? 'ERR_RAP_UNKNOWN';
    this.details = options.details;
    this.httpStatus = isHttpErrorStatus(options.httpStatus) ? options.httpStatus : undefined;
    this.status = shownStatus(this);
    if (options.cause !== undefined) this.cause = options.cause;
  }

  /** Itself: Nest's filters hand on what this returns, and nothing of the error gets lost. */
  override getError(): this {
    return this;
  }

  /** What logs and other transports of Nest show: no stack, no cause. */
  toJSON(): object {
    const { name, status, wireStatus, code, message, details, httpStatus } = this;
    return {
      name,
      status,
      ...(wireStatus === status ? {} : { wireStatus }),
      code,
      message,
      details,
      httpStatus,
    };
  }
}

/**
 * What `error.status` says. A gateway of Nest does `new HttpException(error.message, error.status)`: 301 tells it only that
 * the function failed, what its handler gave as the status tells it more.
 */
export function shownStatus({ wireStatus, httpStatus }: Pick<RapError, 'wireStatus' | 'httpStatus'>): number {
  return wireStatus === Status.Invoke && httpStatus !== undefined ? httpStatus : wireStatus;
}

/**
 * 301: the function itself failed. `remoteName` is the name of the exception it raised, `status` the HTTP status that its
 * handler gave (`new RpcException({ status: 404, message })`), else 301; `wireStatus` is always 301.
 */
export class InvokeError extends RapError {
  override name = 'InvokeError';
  readonly remoteName: string;

  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Invoke, ...options });
    this.remoteName = options.remoteName ?? 'Error';
  }
}

/** 401: the caller may not do this. A guard that says no arrives as this. */
export class AuthError extends RapError {
  override name = 'AuthError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Auth, ...options });
  }
}

/** 404: no such function. */
export class FuncNotFoundError extends RapError {
  override name = 'FuncNotFoundError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.FuncNotFound, ...options });
  }
}

/** 429: a limit of the server; the handler did not run. */
export class TooManyRequestsError extends RapError {
  override name = 'TooManyRequestsError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.TooManyRequests, ...options });
  }
}

/** 500: a fault of the server that it does not explain. */
export class ServerError extends RapError {
  override name = 'ServerError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Server, ...options });
  }
}

/** 1001: done at the wrong time in the life of a connection. */
export class LifeCycleError extends RapError {
  override name = 'LifeCycleError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.LifeCycle, ...options });
  }
}

/** 1002: parameters missing, unknown or of the wrong type. */
export class ParseError extends RapError {
  override name = 'ParseError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Parse, ...options });
  }
}

/** 1003: the peer, or this side, broke the wire's rules. */
export class ProtocolError extends RapError {
  override name = 'ProtocolError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Protocol, ...options });
  }
}

/** 1004: a function cannot be registered so. */
export class RegisteredError extends RapError {
  override name = 'RegisteredError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Registered, ...options });
  }
}

/** 1005: the call failed while it ran. */
export class RunTimeError extends RapError {
  override name = 'RunTimeError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.RunTime, ...options });
  }
}

/** 1006: the call as such failed. */
export class RpcCallError extends RapError {
  override name = 'RpcCallError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.RpcCall, ...options });
  }
}

/** 1007: a body could not be decrypted or was not accepted. */
export class CryptoError extends RapError {
  override name = 'CryptoError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Crypto, ...options });
  }
}

/** 1008: a channel was used in a way that it does not allow. */
export class ChannelError extends RapError {
  override name = 'ChannelError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Channel, ...options });
  }
}

/** 10081: a step that the channel's life does not allow now. */
export class ChannelLifecycleError extends RapError {
  override name = 'ChannelLifecycleError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.ChannelLifeCycle, ...options });
  }
}

/** Local: the connection was lost, or could not be had. `sent: 'no'` means that the server has not seen the call. */
export class ConnectionLostError extends RapError {
  override name = 'ConnectionLostError';
  readonly sent: Sent;

  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.RpcCall, code: LocalCode.ConnectionLost, ...options });
    this.sent = options.sent ?? 'unknown';
  }
}

/** Local: the call's time ran out. `phase` says what it was waiting for. */
export class CallTimeoutError extends RapError {
  override name = 'CallTimeoutError';
  readonly phase: TimeoutPhase;

  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.RunTime, code: LocalCode.CallTimeout, ...options });
    this.phase = options.phase ?? 'response';
  }
}

/** Local: the caller cancelled the call. */
export class CallCancelledError extends RapError {
  override name = 'CallCancelledError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.RpcCall, code: LocalCode.CallCancelled, ...options });
  }
}

/** Local: too much waits already; the call was not sent. `sent: 'unknown'` where a server's own call met that. */
export class OverloadError extends RapError {
  override name = 'OverloadError';
  readonly sent: Sent;

  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.TooManyRequests, code: LocalCode.Overload, ...options });
    this.sent = options.sent ?? 'unknown';
  }
}

/** A class of this package, and one of an application that is built the same way. */
export type RapErrorClass = new (message: string, options?: RapErrorOptions) => RapError;

/** Classes that come with the package, by name: no other class may have it. Written out, since a minifier renames classes. */
export const OWN_CLASSES: ReadonlyMap<string, RapErrorClass> = new Map<string, RapErrorClass>(
  Object.entries({
    RapError,
    InvokeError,
    AuthError,
    FuncNotFoundError,
    TooManyRequestsError,
    ServerError,
    LifeCycleError,
    ParseError,
    ProtocolError,
    RegisteredError,
    RunTimeError,
    RpcCallError,
    CryptoError,
    ChannelError,
    ChannelLifecycleError,
    ConnectionLostError,
    CallTimeoutError,
    CallCancelledError,
    OverloadError,
  }),
);

for (const [name, Class] of OWN_CLASSES) brand(Class, name);
