export { RapServer } from './nest/rap-server.js';
export { RapClient } from './nest/rap-client.js';
export { RapContext } from './nest/rap-context.js';
export {
  InjectRapClient,
  RapModule,
  type RapAsyncClientDefinition,
  type RapClientDefinition,
} from './nest/rap.module.js';
export { RapChannel, type RapMessage } from './nest/rap-channel.js';
export { RapSession } from './nest/rap-session.js';
export { ChannelPattern, RapGroup } from './nest/decorators.js';
export { RAP_TRANSPORT } from './nest/transport.js';
export {
  RapStatus,
  type RapClientEvents,
  type RapConnectionInfo,
  type RapServerEvents,
} from './nest/rap-events.js';
export type { LifecycleEvents, LifecycleListeners } from './nest/lifecycle.js';
export type { RapServerOptions } from './nest/server-options.js';
export type { RapCallOptions, RapClientOptions, RapServerAddress } from './nest/client-options.js';
export type { RapPatternExtras } from './nest/handler-registry.js';
export {
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
  type RapErrorOptions,
} from './nest/errors.js';
export {
  CryptoProcessor,
  type CryptoClientOptions,
  type CryptoMode,
  type CryptoOptions,
  type CryptoServerOptions,
} from './plugins/crypto-processor.js';
export type { AeadSuite } from './protocol/crypto/aead-keys.js';
export type { Secret } from './protocol/crypto/keys.js';
export type { CryptoStats } from './rpc/crypto/crypto-stats.js';
export type { KeepAliveOptions, RapLimits } from './rpc/limits.js';
export {
  ConnectionMiddleware,
  MessageMiddleware,
  RapProcessor,
  type MessageKind,
  type ProcessorContext,
  type RapConnection,
  type RapFault,
  type RapMessageView,
  type RapMiddleware,
  type RapRequest,
  type RapResponse,
} from './rpc/pipeline.js';
export type { ReconnectOptions } from './cluster/backoff.js';
export type { Sent, TimeoutPhase } from './protocol/fault.js';
export type { Session } from './rpc/sessions.js';
export type { Header } from './protocol/frame.js';
export type { RemoteAddress, TlsPeer } from './protocol/link.js';
