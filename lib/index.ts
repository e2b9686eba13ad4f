export { RapServer } from './nest/server/rap-server.js';
export { RapClient } from './nest/client/rap-client.js';
export { RapContext } from './nest/handlers/rap-context.js';
export {
  InjectRapClient,
  InjectRapService,
  RapModule,
  type RapAsyncClientDefinition,
  type RapAsyncModuleOptions,
  type RapClientDefinition,
  type RapModuleOptions,
} from './nest/rap.module.js';
export { RapChannel, type RapMessage } from './nest/streams/rap-channel.js';
export type { RapReadableOptions } from './nest/streams/iterated.js';
export type { RapIterable } from './nest/streams/rap-stream.js';
export { RapSession, type RapCallOptions } from './nest/client/calls/rap-session.js';
export { ChannelPattern, RapGroup } from './nest/handlers/decorators.js';
export { inWorker, RunInWorker, type RunInWorkerOptions } from './nest/workers/run-in-worker.js';
export { configureWorkers, type WorkerOptions } from './nest/workers/worker-pool.js';
export {
  clientStream,
  defineService,
  duplex,
  serverStream,
  unary,
  type AnyRapMethod,
  type RapMethod,
  type RapMethodKind,
  type RapMethodOptions,
  type RapServiceDefinition,
} from './nest/contract/contract.js';
export { RapService, type RapServiceOptions } from './nest/server/rap-service.js';
export type { InputOf, OutputOf } from './nest/contract/method-types.js';
export type { RapHandlers, RapResult, RapStream } from './nest/server/service-handlers.js';
export type { RapServiceClient } from './nest/client/proxies/service-types.js';
export type { RapControllerClient } from './nest/client/proxies/controller-types.js';
export type { ValidationDetail } from './nest/validation/issues.js';
export type { StandardSchema } from './nest/validation/standard-schema.js';
export { RAP_TRANSPORT } from './nest/handlers/transport.js';
export type { EndpointStats, RapClientEvents, RapClientStats } from './nest/client/client-events.js';
export { RapStatus, type RapConnectionInfo, type RapServerEvents } from './nest/lifecycle/rap-events.js';
export type { LifecycleEvents, LifecycleListeners } from './nest/lifecycle/lifecycle.js';
export type { RapHealth, ServingStatus } from './nest/health/rap-health.js';
export type { RapProbesOptions, RapServerOptions } from './nest/server/server-options.js';
export type { RapServerStats } from './nest/server/server-stats.js';
export type { AdaptiveLimitOptions } from './rpc/server/gradient-limit.js';
export type { FleetClientOptions, StartMode, SubsetOptions } from './nest/client/fleet-options.js';
export type { RapClientOptions, RapServerAddress } from './nest/client/client-options.js';
export type { RapHandlerInfo, RapPatternExtras } from './nest/handlers/handler.js';
export type { Authorize, RapAuthorizeRequest } from './nest/server/authorize.js';
export type { RapRegistryEntry } from './nest/server/registry-list.js';
export type { RapFunctionExtras } from './nest/server/run-time-function.js';
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
  type FailedCall,
  type RapErrorOptions,
} from './nest/errors/errors.js';
export { registerError } from './nest/errors/register-error.js';
export { toHttpStatus } from './nest/gateway/http-status.js';
export { RapExceptionFilter, type RapExceptionFilterOptions } from './nest/gateway/rap-exception.filter.js';
export type { RapErrorFields, RegistrableError } from './nest/errors/registered-errors.js';
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
} from './pipeline/api.js';
export type { ReconnectOptions } from './cluster/backoff.js';
export type { BalancerOption } from './cluster/balancing/balancer-of.js';
export type { Candidate, PickedCall } from './cluster/balancing/balancer.js';
export {
  consistentHash,
  type ConsistentHashOption,
  type ConsistentHashOptions,
  type HashKey,
} from './cluster/balancing/consistent-hash-option.js';
export type { PickFunction } from './cluster/balancing/function-balancer.js';
export type { EndpointChange, EndpointState } from './cluster/endpoint.js';
export type { EjectOptions, GivenRetryOptions, HedgeOptions } from './cluster/failures/failure-options.js';
export type { RetryBudgetOptions } from './cluster/failures/retry-budget.js';
export type { PoolOptions } from './cluster/pool.js';
export type { Resolver } from './cluster/resolver.js';
export type { ServerAddress } from './cluster/server-address.js';
export { staticResolver } from './cluster/static-resolver.js';
export type { DnsResolverOptions } from './discovery/dns-options.js';
export { dnsResolver } from './discovery/dns-resolver.js';
export type {
  RapCallKind,
  RapClientCall,
  RapClientChannel,
  RapClientNumbers,
  RapClientOperation,
  RapCollection,
  RapConnectionChange,
  RapEjection,
  RapEndpointChange,
  RapFunctionName,
  RapFurtherAttempt,
  RapOperation,
  RapPeerInfo,
  RapRefusal,
  RapRefusalReason,
  RapServerCall,
  RapServerChannel,
  RapServerNumbers,
  RapServerOperation,
} from './diagnostics/messages.js';
export type { FailedAttempt, Sent, TimeoutPhase } from './protocol/fault.js';
export type { Session } from './rpc/server/sessions.js';
export type { Header } from './protocol/frame.js';
export type { RemoteAddress, TlsPeer } from './protocol/link.js';
export {
  AccessLogMiddleware,
  type AccessLogEntry,
  type AccessLogOptions,
} from './plugins/access-log-middleware.js';
export type { Breaker } from './plugins/adaptive-breaker.js';
export {
  CircuitBreakerProcessor,
  type CircuitBreakerOptions,
  type IsFailure,
} from './plugins/circuit-breaker-processor.js';
export type { ConnStoreOptions } from './plugins/conn-gate.js';
export { ConnLimitMiddleware, type ConnLimitOptions } from './plugins/conn-limit-middleware.js';
export type { ConnLimit, ConnPlace, ConnStore } from './plugins/conn-store.js';
export { FlexibleRateStore, type FlexibleLimiter } from './plugins/flexible-rate-store.js';
export { IpFilterMiddleware, type IpEntries, type IpFilterOptions } from './plugins/ip-filter-middleware.js';
export type { IpListEdit, IpListStore, IpLists, LoadedIpLists } from './plugins/ip-list-store.js';
export { IpMaxConnMiddleware, type IpMaxConnOptions } from './plugins/ip-max-conn-middleware.js';
export type { OnStoreError } from './plugins/plugin-options.js';
export {
  RateLimitProcessor,
  type RateKey,
  type RateLimitOptions,
  type RateLimitRule,
} from './plugins/rate-limit-processor.js';
export type { Rate, RateStore } from './plugins/rate-store.js';
