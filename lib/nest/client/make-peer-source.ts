import { Logger } from '@nestjs/common';
import { Connection, type ConnectionOptions } from '../../cluster/connection.js';
import type { EndpointChange } from '../../cluster/endpoint.js';
import type { PeerSource } from '../../cluster/peer-source.js';
import type { SocketLink } from '../../net/socket-link.js';
import { callingThrough } from '../../pipeline/paths.js';
import { addressText } from '../../protocol/server-address.js';
import { handlerFault } from '../errors/handler-fault.js';
import { toRapError } from '../errors/to-rap-error.js';
import { faultLog } from '../lifecycle/bounded-log.js';
import { loadProcessors } from '../lifecycle/load-plugins.js';
import type { ClientLifecycle } from './client-lifecycle.js';
import { endpointOf, reconnectOf, type RapClientOptions } from './client-options.js';
import { Connector } from './connector.js';
import { makeFleet } from './make-fleet.js';

const logger = new Logger('RapClient');

export interface PeerSourceOptions extends Pick<ConnectionOptions, 'deadlines' | 'onStatus'> {
  /** Starts before the first connection; `undefined` without events and processors. */
  readonly lifecycle: ClientLifecycle | undefined;
  readonly onLink: (link: SocketLink) => void;
  readonly onEndpoint: (change: EndpointChange) => void;
}

/**
 * What a client gets its peers from: the connection to its one server, or the fleet that its options describe. Nothing is
 * opened yet.
 *
 * @throws RangeError for an option that is unknown or out of range
 */
export function makePeerSource(
  options: RapClientOptions,
  { lifecycle, onLink, onEndpoint, deadlines, onStatus }: PeerSourceOptions,
): PeerSource {
  const endpoint = endpointOf(options);
  const processors = loadProcessors(options.processors, {
    toFault: handlerFault,
    toPublic: toRapError,
    onError: logError,
  });
  const calling = processors && callingThrough(processors);
  const connector = new Connector(options, { deadlines, lifecycle, calling, onLink });
  if (connector.security?.warning) logger.warn(connector.security.warning);
  if (!endpoint) return makeFleet(options, { connector, calling, deadlines, onStatus, onEndpoint, logger });
  return new Connection({
    ...connector.to(addressText(endpoint), () => endpoint),
    reconnect: reconnectOf(options.reconnect),
    onStatus,
  });
}

/** Logs an error, whatever was thrown, within the bounds of the log. */
export function logError(error: unknown): void {
  faultLog.write(
    (line) => logger.error(line),
    () => error,
  );
}
