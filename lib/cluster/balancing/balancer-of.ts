import { nearestName } from '../../protocol/values/nearest-name.js';
import type { Balancer, BalancerOptions, Candidate } from './balancer.js';
import type { ConsistentHashOption } from './consistent-hash-option.js';
import { ConsistentHash } from './consistent-hash.js';
import { FunctionBalancer, type PickFunction } from './function-balancer.js';
import { LeastInFlight } from './least-in-flight.js';
import { P2c } from './p2c.js';
import { Random } from './random.js';
import { RoundRobin } from './round-robin.js';
import { Weighted } from './weighted.js';

const BALANCERS = {
  p2c: P2c,
  roundRobin: RoundRobin,
  random: Random,
  weighted: Weighted,
  leastInFlight: LeastInFlight,
};
const NAMES = Object.keys(BALANCERS);
/** A longer name is cut in messages, and compared by its beginning. */
const MAX_NAME = 64;
/** Names with more letters to change are not alike. */
const MAX_CHANGES = 3;

/**
 * How a client picks the server of a call: `p2c` of two random servers the better one (the default), `roundRobin` one after the other,
 * `random` and `weighted` in proportion to their weights, `leastInFlight` the one with the fewest calls of this client, what
 * `consistentHash` returns, or a function.
 */
export type BalancerOption = keyof typeof BALANCERS | ConsistentHashOption | PickFunction;

/**
 * The balancer that the option names; `p2c` without one.
 *
 * @throws RangeError if there is none
 */
export function balancerOf<C extends Candidate = Candidate>(
  option: BalancerOption | undefined,
  options: BalancerOptions,
): Balancer<C> {
  if (option === undefined) return new P2c<C>(options);
  if (typeof option === 'function') return new FunctionBalancer<C>(option, options);
  if (isConsistentHash(option)) return new ConsistentHash<C>(option, options);
  if (typeof option === 'string' && Object.hasOwn(BALANCERS, option))
    return new BALANCERS[option]<C>(options);
  throw new RangeError(unknownBalancer(option));
}

function isConsistentHash(option: unknown): option is ConsistentHashOption {
  if (typeof option !== 'object' || option === null) return false;
  const { kind, keyOf } = option as Partial<ConsistentHashOption>;
  return kind === 'consistentHash' && typeof keyOf === 'function';
}

function unknownBalancer(option: unknown): string {
  const known = `${NAMES.map((name) => `'${name}'`).join(', ')}, consistentHash({ key }) or a function`;
  if (typeof option !== 'string')
    return `balancer must be ${known}, got ${option === null ? 'null' : typeof option}`;
  const nearest = nearestOf(option, [...NAMES, 'consistentHash']);
  const meant = nearest === 'consistentHash' ? 'consistentHash({ key })' : nearest && `'${nearest}'`;
  return `balancer must be ${known}, got '${option.slice(0, MAX_NAME)}'${meant ? `: did you mean ${meant}?` : ''}`;
}

/** The one with the fewest letters to change, if those are few: without signs, and in any case. */
function nearestOf(asked: string, names: readonly string[]): string | undefined {
  const wanted = plain(asked.slice(0, MAX_NAME));
  const known = names.map((each) => ({ name: plain(each), shown: each }));
  return nearestName(wanted, known, Math.min(MAX_CHANGES, wanted.length - 1))?.shown;
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}
