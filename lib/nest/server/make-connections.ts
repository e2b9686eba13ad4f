import type { ConnectionMiddleware } from '../../pipeline/api.js';
import { servingThrough } from '../../pipeline/paths.js';
import type { ConnectionSecurity } from '../../rpc/connection/security.js';
import { type RapLimits, SERVER_KEEP_ALIVE, withDefaults } from '../../rpc/limits.js';
import type { ServingPath } from '../../rpc/server/serving.js';
import { DeadlineQueue } from '../../rpc/time/deadline-queue.js';
import { handlerFault, maskError } from '../errors/handler-fault.js';
import { toRapError } from '../errors/to-rap-error.js';
import { type Environment, environmentOf, type ServedWork } from '../lifecycle/environment.js';
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
  const { clock, onWork } = environmentOf(options);
  return new ServerConnections({
    limits,
    adaptiveLimit: adaptiveLimitOption(options),
    keepAlive: withDefaults('keepAlive', options.keepAlive, SERVER_KEEP_ALIVE),
    clock,
    deadlines: new DeadlineQueue(clock),
    serving: servingOf(options, onError),
    middleware,
    onArrival: (incoming) => router().onArrival(incoming),
    onCall: watched(onWork, (call) => router().onCall(call)),
    onChannel: watched(onWork, (incoming) => router().onChannel(incoming)),
    spares,
    onEvent,
    log,
    security,
  });
}

function watched<T extends ServedWork>(
  watch: Environment['onWork'],
  take: (incoming: T) => void,
): (incoming: T) => void {
  if (!watch) return take;
  return (incoming) => {
    watch(incoming);
    take(incoming);
  };
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
