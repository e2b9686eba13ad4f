import { RpcException } from '@nestjs/microservices';
import { type FailedAttempt, LocalCode, type Sent, type TimeoutPhase } from '../../protocol/fault.js';
import { CODE_BY_STATUS, Status } from '../../protocol/status.js';
import { isHttpErrorStatus } from '../../protocol/wire-error.js';
import { brand, isInstance } from './error-brand.js';

/** What a {@link RapError} may carry beside its message. */
export interface RapErrorOptions {
  /** Status on the wire. Default: that of the class, 1006 for `RapError`. */
  status?: number | undefined;
  /** Stable code, `'ERR_RAP_...'` by default; a custom code is sent unchanged. */
  code?: string | undefined;
  /** Data for the caller's program: at most 4 KiB. Below two levels it is sent as JSON. */
  details?: unknown;
  /** The status with which an HTTP gateway answers, 400 to 599. Default: that of the class in `RapExceptionFilter`. */
  httpStatus?: number | undefined;
  /** The cause; it is not sent. */
  cause?: unknown;
  /** For {@link InvokeError}: name of the exception that the function raised. */
  remoteName?: string | undefined;
  /** On a client: whether a handler may have run; see {@link RapError.sent}. It is not sent. */
  sent?: Sent | undefined;
  /**
   * `false`: the caller must not repeat the call, even if it is idempotent, nor try another server; for a failure that a
   * further attempt makes worse, or cannot mend. It is sent.
   */
  retry?: false | undefined;
  /** For {@link CallTimeoutError}: what the call was waiting for. */
  phase?: TimeoutPhase | undefined;
}

/** A call of a client that failed. */
export interface FailedCall {
  /** `/group/name`. */
  readonly target: string;
  /**
   * The server: `localhost:9000`, or the path of a Unix socket. Of several servers, the one of the last attempt; all of them, if
   * the call was sent to none.
   */
  readonly server: string;
  /** From the call to its error, in milliseconds. */
  readonly afterMs?: number;
}

/**
 * An error of rap. If a handler throws it, the caller gets the same class with the same status, code, message and details.
 * Nest's filters see an `RpcException`.
 */
export class RapError extends RpcException {
  override name = 'RapError';
  /** Status on the wire; for a function that failed (301) the HTTP status that its handler has set, if any. */
  readonly status: number;
  /** Status on the wire. */
  readonly wireStatus: number;
  /** Stable code for programs: `'ERR_RAP_...'`. */
  readonly code: string;
  readonly details: unknown;
  /** The HTTP status, if the code that threw the error has set it. */
  readonly httpStatus: number | undefined;
  override readonly cause?: unknown;
  /**
   * On the client: `'no'` means that no handler has begun, so that the call may be repeated: it was not sent, or a limit, a
   * processor's rate limit or the shutdown of the server refused it. A 429 that a handler threw has `'unknown'`. Absent on
   * errors that a handler may have thrown, except those of the classes that declare it.
   */
  declare readonly sent?: Sent;
  /** `false`: the server asks not to repeat the call. Absent otherwise. */
  declare readonly retry?: false;
  /**
   * On the client: the attempts of a call that was made more than once, oldest first, the last one included; of more than eight,
   * the first seven and the last. Absent otherwise. It is not sent.
   */
  declare readonly attempts?: readonly FailedAttempt[];
  /** On the client: the call that failed. It is not sent, and not enumerable. */
  declare readonly call?: FailedCall;

  /** True for errors of another copy of this package, too. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return isInstance(this, value);
  }

  constructor(message: string, options: RapErrorOptions = {}) {
    super(message);
    const { name } = new.target;
    // a subclass shows its own name, unless it sets another one; a minified bundle has renamed RapError itself
    if (new.target !== RapError && typeof name === 'string' && name !== '') this.name = name;
    this.wireStatus = options.status ?? Status.RpcCall;
    this.code = options.code ?? CODE_BY_STATUS[this.wireStatus] ?? 'ERR_RAP_UNKNOWN';
    this.details = options.details;
    this.httpStatus = isHttpErrorStatus(options.httpStatus) ? options.httpStatus : undefined;
    this.status = shownStatus(this);
    if (options.cause !== undefined) this.cause = options.cause;
    if (options.sent !== undefined) this.sent = options.sent;
    if (options.retry === false) this.retry = false;
  }

  /** Returns the error itself: Nest's filters pass on what this returns, and nothing of the error gets lost. */
  override getError(): this {
    return this;
  }

  /** The form in logs and other transports of Nest: without stack and cause. */
  toJSON(): object {
    const { name, status, wireStatus, code, message, details, httpStatus, retry, attempts } = this;
    return {
      name,
      status,
      ...(wireStatus === status ? {} : { wireStatus }),
      code,
      message,
      details,
      httpStatus,
      ...(retry === false ? { retry } : {}),
      ...(attempts ? { attempts } : {}),
    };
  }
}

/**
 * The value of `error.status`. A gateway of Nest does `new HttpException(error.message, error.status)`: for that, the status
 * that the handler has set says more than 301.
 */
export function shownStatus({ wireStatus, httpStatus }: Pick<RapError, 'wireStatus' | 'httpStatus'>): number {
  return wireStatus === Status.Invoke && httpStatus !== undefined ? httpStatus : wireStatus;
}

/**
 * 301: the function itself failed. `remoteName` is the name of the exception that it raised, `status` the HTTP status that its
 * handler has set (`new RpcException({ status: 404, message })`), else 301; `wireStatus` is always 301.
 */
export class InvokeError extends RapError {
  override name = 'InvokeError';
  readonly remoteName: string;

  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Invoke, ...options });
    this.remoteName = options.remoteName ?? 'Error';
  }
}

/** 401: the caller may not do this. Also the error of a guard that refuses. */
export class AuthError extends RapError {
  override name = 'AuthError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Auth, ...options });
  }
}

/** 404: the function does not exist. */
export class FuncNotFoundError extends RapError {
  override name = 'FuncNotFoundError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.FuncNotFound, ...options });
  }
}

/**
 * 429: a limit of the server was reached, or it shuts down (`code` `'ERR_RAP_DRAINING'`). `sent: 'no'` means that no handler
 * has begun; `'unknown'` that a handler may have thrown it.
 */
export class TooManyRequestsError extends RapError {
  override name = 'TooManyRequestsError';
  override readonly sent: Sent;

  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.TooManyRequests, ...options });
    this.sent = options.sent ?? 'unknown';
  }
}

/** 500: an internal error of the server. */
export class ServerError extends RapError {
  override name = 'ServerError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Server, ...options });
  }
}

/** 1001: wrong time in the life of a connection. */
export class LifeCycleError extends RapError {
  override name = 'LifeCycleError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.LifeCycle, ...options });
  }
}

/** 1002: parameters are missing, unknown or of the wrong type. */
export class ParseError extends RapError {
  override name = 'ParseError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Parse, ...options });
  }
}

/** 1003: the peer, or this side, violated the protocol. */
export class ProtocolError extends RapError {
  override name = 'ProtocolError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Protocol, ...options });
  }
}

/** 1004: a function cannot be registered. */
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

/** 1006: the call itself failed, not the function. */
export class RpcCallError extends RapError {
  override name = 'RpcCallError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.RpcCall, ...options });
  }
}

/** 1007: a body could not be decrypted, or was refused. */
export class CryptoError extends RapError {
  override name = 'CryptoError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Crypto, ...options });
  }
}

/** 1008: a channel was used in a wrong way. */
export class ChannelError extends RapError {
  override name = 'ChannelError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.Channel, ...options });
  }
}

/** 10081: the state of the channel does not allow this step. */
export class ChannelLifecycleError extends RapError {
  override name = 'ChannelLifecycleError';
  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.ChannelLifeCycle, ...options });
  }
}

/** Local: the connection was lost, or could not be opened. `sent: 'no'` means that the server has not seen the call. */
export class ConnectionLostError extends RapError {
  override name = 'ConnectionLostError';
  override readonly sent: Sent;

  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.RpcCall, code: LocalCode.ConnectionLost, ...options });
    this.sent = options.sent ?? 'unknown';
  }
}

/** Local: the call timed out. `phase` says what it was waiting for. */
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

/** Local: too many calls wait already; this one was not sent. `sent: 'unknown'` if it happened to a call of the server. */
export class OverloadError extends RapError {
  override name = 'OverloadError';
  override readonly sent: Sent;

  constructor(message: string, options: RapErrorOptions = {}) {
    super(message, { status: Status.TooManyRequests, code: LocalCode.Overload, ...options });
    this.sent = options.sent ?? 'unknown';
  }
}

/** An error class of this package, or one of an application with the same constructor. */
export type RapErrorClass = new (message: string, options?: RapErrorOptions) => RapError;

/** Error classes of the package by name: no other class may have one of these names. Written out, since minifiers rename classes. */
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
