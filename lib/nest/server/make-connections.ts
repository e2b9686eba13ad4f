import type { ConnectionMiddleware } from '../../pipeline/api.js';
import { servingThrough } from '../../pipeline/paths.js';
import type { ConnectionSecurity } from '../../rpc/connection/security.js';
import { type RapLimits, SERVER_KEEP_ALIVE, withDefaults } from '../../rpc/limits.js';
import type { ServingPath } from '../../rpc/server/serving.js';
import { DeadlineQueue } from '../../rpc/time/deadline-queue.js';
import { systemClock } from '../../rpc/time/system-clock.js';
import { handlerFault, maskError } from '../errors/handler-fault.js';
import { toRapError } from '../errors/to-rap-error.js';
import { loadProcessors } from '../lifecycle/load-plugins.js';
import type { CallRouter } from './call-router.js';
import { ServerConnections, type ServerConnectionsOptions } from './server-connections.js';
import { adaptiveLimitOption, type RapServerOptions } from './server-options.js';

export interface MakeConnectionsOptions extends Pick<ServerConnectionsOptions, 'onEvent' | 'log' | 'spares'> {
  readonly limits: RapLimits;
  readonly middleware: readonly ConnectionMiddleware[] | undefined;
  readonly security: ConnectionSecurity | undefined;
  /** Asked when a call comes: it is made later. */
  readonly router: () => CallRouter;
  readonly onError: (error: unknown) => void;
}

/** The connections of a server with these options. */
export function makeConnections(
  options: RapServerOptions,
  { limits, middleware, security, router, spares, onEvent, onError, log }: MakeConnectionsOptions,
): ServerConnections {
  return new ServerConnections({
    limits,
    adaptiveLimit: adaptiveLimitOption(options),
    keepAlive: withDefaults('keepAlive', options.keepAlive, SERVER_KEEP_ALIVE),
    clock: systemClock,
    deadlines: new DeadlineQueue(systemClock),
    serving: servingOf(options, onError),
    middleware,
    onArrival: (incoming) => router().onArrival(incoming),
    onCall: (call) => router().onCall(call),
    onChannel: (incoming) => router().onChannel(incoming),
    spares,
    onEvent,
    log,
    security,
  });
}

function servingOf(
  { processors, exposeErrors = false }: RapServerOptions,
  onError: (error: unknown) => void,
): ServingPath | undefined {
  const loaded = loadProcessors(processors, {
    toFault: (error) => handlerFault(exposeErrors ? error : maskError(error, onError)),
    toPublic: toRapError,
    onError,
  });
  return loaded && servingThrough(loaded);
}
