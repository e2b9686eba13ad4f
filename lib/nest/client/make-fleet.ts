import { randomInt, randomUUID } from 'node:crypto';
import type { Logger } from '@nestjs/common';
import { Backoff, type ReconnectOptions } from '../../cluster/backoff.js';
import { balancerOf } from '../../cluster/balancing/balancer-of.js';
import { subsetOf } from '../../cluster/balancing/subset.js';
import { Endpoint, type EndpointState, type EndpointChange } from '../../cluster/endpoint.js';
import {
  ejectOptions,
  hedgeOptions,
  type RetryOptions,
  retryOptions,
} from '../../cluster/failures/failure-options.js';
import { Fleet, type FleetOptions } from '../../cluster/fleet.js';
import { FleetHealth } from '../../cluster/fleet-health.js';
import { DEFAULT_POOL } from '../../cluster/pool.js';
import { RandomNumbers } from '../../cluster/random-numbers.js';
import type { Resolver } from '../../cluster/resolver.js';
import { addressText } from '../../protocol/server-address.js';
import { withDefaults } from '../../rpc/limits.js';
import { messageOf } from '../errors/shown.js';
import { endpointLog, faultLog } from '../lifecycle/bounded-log.js';
import { reconnectOf, resolverOf, type RapClientOptions } from './client-options.js';
import type { Connector } from './connector.js';
import type { SubsetOptions } from './fleet-options.js';

export interface MakeFleetOptions extends Pick<
  FleetOptions,
  'calling' | 'deadlines' | 'onStatus' | 'onEndpoint'
> {
  readonly connector: Connector;
  readonly logger: Logger;
}

const MAX_SEED = 2 ** 32;

/** The servers of a client that has several, or may have. @throws RangeError for an option that is out of range */
export function makeFleet(
  options: RapClientOptions,
  { connector, calling, deadlines, onStatus, onEndpoint, logger }: MakeFleetOptions,
): Fleet {
  const { clock } = deadlines;
  const now = (): number => clock.now();
  const { next: random } = new RandomNumbers(randomInt(MAX_SEED));
  const resolver = resolverOf(options);
  const where = whereOf(resolver);
  const warn = (text: string): void =>
    void faultLog.write(
      (line) => logger.warn(line),
      () => text,
    );
  const pool = withDefaults('pool', options.pool, DEFAULT_POOL);
  // false: only what no server has taken is repeated
  const retry = retryOptions(options.retry === false ? { maxAttempts: 1 } : options.retry) as RetryOptions;
  const reconnect = reconnectOf(options.reconnect) as ReconnectOptions;
  return new Fleet({
    where,
    resolver,
    balancer: balancerOf(options.balancer, {
      now,
      random,
      mistaken: (message, cause) => warn(cause === undefined ? message : `${message}: ${messageOf(cause)}`),
    }),
    health: new FleetHealth({
      now,
      random,
      eject: ejectOptions(options.eject),
      retry,
      hedge: hedgeOptions(options.hedge, retry.budget),
    }),
    addressOf: addressText,
    subset: subsetFor(options.subset, warn),
    makeEndpoint: (address, server, owner) => {
      const endpoint: Endpoint = new Endpoint({
        address,
        server,
        connect: connector.to(address, () => endpoint.server),
        pool,
        backoff: new Backoff(reconnect, now, random),
        owner,
        random,
      });
      return endpoint;
    },
    limits: connector.limits,
    clock,
    deadlines,
    calling,
    random,
    onStatus,
    onEndpoint: (change) => {
      logChange(logger, change);
      onEndpoint(change);
    },
    onResolverError: (error) => warn(`the servers of ${where} cannot be found: ${error.message}`),
    onResolverMistake: (error) => warn(`the list of ${where}: ${error.message}`),
  });
}

/** The servers in messages: a resolver of an application may have no name, and no prototype. */
function whereOf(resolver: Resolver): string {
  const { name, constructor } = resolver as { name?: unknown; constructor?: { name?: unknown } };
  if (typeof name === 'string' && name !== '') return name;
  const { name: kind } = constructor ?? {};
  const isKind = typeof kind === 'string' && kind !== '' && kind !== 'Object';
  return isKind ? `the resolver (${kind})` : 'the resolver';
}

/** Most servers of a client without `subset`: its sockets, and a balancer that looks at all servers, have their price. */
const MAX_SERVERS = 1_000;

/** The servers that this client uses. */
function subsetFor(subset: SubsetOptions | undefined, warn: (text: string) => void): FleetOptions['subset'] {
  if (!subset) {
    const key = randomUUID();
    return (addresses) => {
      if (addresses.length <= MAX_SERVERS) return new Set(addresses);
      warn(`${addresses.length} servers are listed, of which ${MAX_SERVERS} are used: set subset`);
      return new Set(subsetOf(addresses, { size: MAX_SERVERS, key }));
    };
  }
  const { size, ordinal, clients } = subset;
  const options =
    ordinal === undefined ? { size, key: randomUUID() } : { size, ordinal, clients: clients as number };
  return (addresses) => new Set(subsetOf(addresses, options));
}

/** States that say that something is wrong. */
const BAD: ReadonlySet<EndpointState> = new Set(['suspect', 'ejected', 'backingOff']);

function logChange(logger: Logger, { address, state, reason }: EndpointChange): void {
  if (state === 'idle' || state === 'connecting') return;
  const line = `${address} is ${state}${reason === undefined ? '' : `: ${reason}`}`;
  endpointLog.write(
    (text) => (BAD.has(state) ? logger.warn(text) : logger.log(text)),
    () => line,
  );
}
