import { Logger } from '@nestjs/common';
import type { Prepared } from '../../cluster/connect-attempt.js';
import { Connection, type ConnectionOptions } from '../../cluster/connection.js';
import type { PeerSource } from '../../cluster/peer-source.js';
import { describeEndpoint } from '../../net/address.js';
import { dial, type DialOptions } from '../../net/dial.js';
import type { SocketLink } from '../../net/socket-link.js';
import type { Link } from '../../protocol/link.js';
import { systemClock } from '../../rpc/time/system-clock.js';
import { CLIENT_KEEP_ALIVE, resolveLimits, withDefaults } from '../../rpc/limits.js';
import { securityOf } from '../../pipeline/security-of.js';
import { askedFor } from './asked-options.js';
import { faultLog } from '../lifecycle/bounded-log.js';
import type { ClientLifecycle } from './client-lifecycle.js';
import { endpointOf, reconnectOf, type RapClientOptions } from './client-options.js';
import { toRapError } from '../errors/to-rap-error.js';
import { handlerFault } from '../errors/handler-fault.js';
import { isRecord } from '../../protocol/values/unknown.js';
import { callingThrough } from '../../pipeline/paths.js';
import { loadProcessors } from '../lifecycle/load-plugins.js';

const logger = new Logger('RapClient');

export interface PeerSourceOptions extends Pick<ConnectionOptions, 'deadlines' | 'onStatus'> {
  /** Starts before the first connection; `undefined` without events and processors. */
  readonly lifecycle: ClientLifecycle | undefined;
  readonly onLink: (link: SocketLink) => void;
}

/**
 * What a client gets its peers from: the connection to the server that its options name. Nothing is opened yet.
 *
 * @throws RangeError for an option that is unknown or out of range
 */
export function makePeerSource(
  options: RapClientOptions,
  { lifecycle, onLink, deadlines, onStatus }: PeerSourceOptions,
): PeerSource {
  const limits = resolveLimits(options.limits);
  const endpoint = endpointOf(options);
  const security = securityOf(options.processors, 'client');
  if (security?.warning) logger.warn(security.warning);
  const { connectTimeoutMs } = limits;
  const reach = async (tls: DialOptions['tls']): Promise<Link> => {
    const link = await dial(endpoint, { tls, connectTimeoutMs, limits, clock: systemClock });
    onLink(link);
    return link;
  };
  const { tls, metadata = {} } = options;
  const isAsked = typeof tls === 'function' || typeof metadata === 'function';
  const prepare = async (): Promise<Prepared> => {
    await lifecycle?.start();
    if (!isAsked) return {};
    const told = await askedFor(metadata, {
      name: 'metadata',
      expected: 'an object',
      isExpected: (value) => value === undefined || isRecord(value),
      timeoutMs: connectTimeoutMs,
    });
    const secure = await askedFor(tls, {
      name: 'tls',
      expected: 'an object or true', // `undefined` by mistake must not mean plain text
      isExpected: (value) => value === true || isRecord(value),
      timeoutMs: connectTimeoutMs,
    });
    return { metadata: told ?? {}, dial: () => reach(secure) };
  };
  const processors = loadProcessors(options.processors, {
    toFault: handlerFault,
    toPublic: toRapError,
    onError: logError,
  });
  return new Connection({
    prepare: lifecycle || isAsked ? prepare : undefined,
    dial: () => reach(tls as Exclude<typeof tls, () => unknown>),
    where: describeEndpoint(endpoint),
    limits,
    keepAlive: withDefaults('keepAlive', options.keepAlive, CLIENT_KEEP_ALIVE),
    clock: systemClock,
    deadlines,
    metadata: metadata as Exclude<typeof metadata, () => unknown>,
    calling: processors && callingThrough(processors),
    security,
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
