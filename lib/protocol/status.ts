/** Status codes of the wire. 200 (or none) is success; 301 and 400 and above mean that the body is an error. */
export const Status = {
  Ok: 200,
  /** The function itself failed; body `[exception name, message]`. */
  Invoke: 301,
  Auth: 401,
  FuncNotFound: 404,
  TooManyRequests: 429,
  Server: 500,
  LifeCycle: 1001,
  Parse: 1002,
  Protocol: 1003,
  Registered: 1004,
  RunTime: 1005,
  RpcCall: 1006,
  Crypto: 1007,
  Channel: 1008,
  ChannelLifeCycle: 10081,
} as const;

/** Stable error codes by status. */
export const CODE_BY_STATUS: Readonly<Record<number, string>> = {
  [Status.Invoke]: 'ERR_RAP_INVOKE',
  [Status.Auth]: 'ERR_RAP_AUTH',
  [Status.FuncNotFound]: 'ERR_RAP_FUNC_NOT_FOUND',
  [Status.TooManyRequests]: 'ERR_RAP_TOO_MANY_REQUESTS',
  [Status.Server]: 'ERR_RAP_SERVER',
  [Status.LifeCycle]: 'ERR_RAP_LIFE_CYCLE',
  [Status.Parse]: 'ERR_RAP_PARSE',
  [Status.Protocol]: 'ERR_RAP_PROTOCOL',
  [Status.Registered]: 'ERR_RAP_REGISTERED',
  [Status.RunTime]: 'ERR_RAP_RUN_TIME',
  [Status.RpcCall]: 'ERR_RAP_RPC_CALL',
  [Status.Crypto]: 'ERR_RAP_CRYPTO',
  [Status.Channel]: 'ERR_RAP_CHANNEL',
  [Status.ChannelLifeCycle]: 'ERR_RAP_CHANNEL_LIFE_CYCLE',
};

/** Name of Python's exception with which a call is answered whose handler took too long. */
export const RUN_TIMEOUT = 'RpcRunTimeError';

/** Code of the 429 with which a server that drains refuses calls. */
export const DRAINING_CODE = 'ERR_RAP_DRAINING';

/** The error class of a status: `error.name` on the wire, which peers of this project know. */
export const NAME_BY_STATUS: Readonly<Record<number, string>> = {
  [Status.Invoke]: 'InvokeError',
  [Status.Auth]: 'AuthError',
  [Status.FuncNotFound]: 'FuncNotFoundError',
  [Status.TooManyRequests]: 'TooManyRequestsError',
  [Status.Server]: 'ServerError',
  [Status.LifeCycle]: 'LifeCycleError',
  [Status.Parse]: 'ParseError',
  [Status.Protocol]: 'ProtocolError',
  [Status.Registered]: 'RegisteredError',
  [Status.RunTime]: 'RunTimeError',
  [Status.RpcCall]: 'RpcCallError',
  [Status.Crypto]: 'CryptoError',
  [Status.Channel]: 'ChannelError',
  [Status.ChannelLifeCycle]: 'ChannelLifecycleError',
};

/** Whether a frame with this `status_code` carries an error. */
export function isErrorStatus(status: unknown): status is number {
  return typeof status === 'number' && (status === Status.Invoke || status >= 400);
}
