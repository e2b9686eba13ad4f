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

/** The one with the fewest letters to change, if those are few. */
function nearestOf(asked: string, names: readonly string[]): string | undefined {
  const wanted = plain(asked.slice(0, MAX_NAME));
  let least = Math.min(3, wanted.length - 1);
  let nearest: string | undefined;
  for (const name of names) {
    const distance = editDistance(wanted, plain(name));
    if (distance > least) continue;
    nearest = name;
    least = distance - 1;
  }
  return nearest;
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
