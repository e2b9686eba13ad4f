import { inspect } from 'node:util';
import type { BalancerOption } from '../../cluster/balancing/balancer-of.js';
import type {
  EjectOptions,
  GivenRetryOptions,
  HedgeOptions,
} from '../../cluster/failures/failure-options.js';
import { DEFAULT_POOL, type PoolOptions } from '../../cluster/pool.js';
import type { Resolver } from '../../cluster/resolver.js';
import type { Given } from '../../rpc/limits.js';
import { assertKnown, type Keys } from '../validation/known-options.js';

/** Which servers of a large fleet a client uses. */
export interface SubsetOptions {
  /** How many. */
  readonly size: number;
  /**
   * Number of this client among all `clients`, from 0, as that of a pod of a StatefulSet: then each server has the same number
   * of clients. Without it, each client chooses by rendezvous hashing, and the numbers differ by up to a quarter.
   */
  readonly ordinal?: number | undefined;
  /** How many clients there are, for `ordinal`. */
  readonly clients?: number | undefined;
}

/** When a client connects: with its first call, when it is made, or so that an application fails to start without a server. */
export type StartMode = 'lazy' | 'eager' | 'required';

/** Options of a client of several servers. */
export interface FleetClientOptions {
  /** Finds the servers, instead of `servers`: `dnsResolver(...)`, `etcdResolver(...)`, or one of your own. */
  resolver?: Resolver | undefined;
  /** Picks the server of each call. Default `p2c`: the better of two random ones. */
  balancer?: BalancerOption | undefined;
  /** Connections to each server. */
  pool?: Given<PoolOptions> | undefined;
  /** Connects to a part of the servers only. Default: to all. */
  subset?: SubsetOptions | undefined;
  /** When a server is left out since its calls fail; false: never. */
  eject?: Given<EjectOptions> | false | undefined;
  /** Repeats calls that have failed; false: only those that no server has taken. */
  retry?: GivenRetryOptions | false | undefined;
  /** Sends a second attempt of a slow idempotent call to another server. Default: no. */
  hedge?: Given<HedgeOptions> | false | undefined;
  /** When it connects. Default `lazy`. */
  start?: StartMode | undefined;
}

export const FLEET_OPTIONS: Keys<FleetClientOptions> = {
  resolver: true,
  balancer: true,
  pool: true,
  subset: true,
  eject: true,
  retry: true,
  hedge: true,
  start: true,
};

const SUBSET: Keys<SubsetOptions> = { size: true, ordinal: true, clients: true };
const START_MODES: readonly unknown[] = ['lazy', 'eager', 'required'] satisfies StartMode[];

/** Whether a client has options that only one of several servers has. */
export function hasFleetOptions(options: FleetClientOptions): boolean {
  return Object.keys(FLEET_OPTIONS).some(
    (name) => name !== 'start' && options[name as keyof FleetClientOptions] !== undefined,
  );
}

/** @throws RangeError that names what is not an option, or not valid */
export function assertFleetOptions({ resolver, pool, subset, start }: FleetClientOptions): void {
  if (resolver !== undefined && typeof (resolver as { watch?: unknown } | null)?.watch !== 'function')
    throw new RangeError(`resolver must have a function "watch", got ${inspect(resolver)}`);
  assertPool(pool);
  assertSubset(subset);
  if (start !== undefined && !START_MODES.includes(start))
    throw new RangeError(`start must be 'lazy', 'eager' or 'required', got ${inspect(start)}`);
}

function assertPool(pool: Given<PoolOptions> | undefined): void {
  assertKnown('pool', pool, DEFAULT_POOL as never);
  const { min = DEFAULT_POOL.min, max = DEFAULT_POOL.max, callsPerConnection, ageJitter } = pool ?? {};
  assertWhole('pool.min', min);
  assertWhole('pool.max', max);
  if (callsPerConnection !== undefined) assertWhole('pool.callsPerConnection', callsPerConnection);
  if (min > max) throw new RangeError(`pool.min is ${min}, above pool.max, which is ${max}`);
  if (ageJitter !== undefined && !(ageJitter >= 0 && ageJitter <= 1))
    throw new RangeError(`pool.ageJitter must be from 0 to 1, got ${inspect(ageJitter)}`);
}

function assertSubset(subset: SubsetOptions | undefined): void {
  assertKnown('subset', subset, SUBSET);
  if (!subset) return;
  assertWhole('subset.size', subset.size);
  const { ordinal, clients } = subset;
  if (ordinal === undefined && clients === undefined) return;
  assertWhole('subset.clients', clients);
  assertWhole('subset.ordinal', ordinal, 0);
  if ((ordinal as number) >= (clients as number))
    throw new RangeError(
      `subset.ordinal is ${ordinal}: it must be below subset.clients, which is ${clients}`,
    );
}

function assertWhole(name: string, value: unknown, min = 1): void {
  if (!Number.isInteger(value) || (value as number) < min)
    throw new RangeError(`${name} must be a whole number of at least ${min}, got ${inspect(value)}`);
}
