import { balancerOf, type BalancerOption } from '../../../lib/cluster/balancing/balancer-of.js';
import type { Candidate } from '../../../lib/cluster/balancing/balancer.js';
import { consistentHash } from '../../../lib/cluster/balancing/consistent-hash-option.js';
import type { PickFunction } from '../../../lib/cluster/balancing/function-balancer.js';
import { CALL, equalServers, seeded } from './fleet.js';

function make(option: BalancerOption | undefined, fleet: readonly Candidate[] = []) {
  const mistakes: unknown[][] = [];
  const balancer = balancerOf(option, {
    now: () => 0,
    random: seeded(),
    mistaken: (...mistake) => mistakes.push(mistake),
  });
  balancer.update(fleet);
  return { balancer, mistakes };
}

it.each<[BalancerOption | undefined, string]>([
  [undefined, 'P2c'],
  ['p2c', 'P2c'],
  ['roundRobin', 'RoundRobin'],
  ['random', 'Random'],
  ['weighted', 'Weighted'],
  ['leastInFlight', 'LeastInFlight'],
  [consistentHash({ key: 'a' }), 'ConsistentHash'],
  [() => undefined, 'FunctionBalancer'],
])('%p makes %s', (option, name) => {
  expect(make(option).balancer.constructor.name).toBe(name);
});

it.each([
  ['round_robin', `got 'round_robin': did you mean 'roundRobin'?`],
  ['P2C', `got 'P2C': did you mean 'p2c'?`],
  ['leastinflght', `got 'leastinflght': did you mean 'leastInFlight'?`],
  ['consistentHash', `got 'consistentHash': did you mean consistentHash({ key })?`],
  ['maglev', `got 'maglev'`],
  ['constructor', `got 'constructor'`],
  ['', `got ''`],
  ['x'.repeat(99), `got '${'x'.repeat(64)}'`],
  [5, 'got number'],
  [null, 'got null'],
  [{ kind: 'consistentHash' }, 'got object'],
])('refuses %p', (option, end) => {
  const known = `'p2c', 'roundRobin', 'random', 'weighted', 'leastInFlight', consistentHash({ key }) or a function`;
  expect(() => make(option as BalancerOption)).toThrow(new RangeError(`balancer must be ${known}, ${end}`));
});

describe('a function', () => {
  it('is given those that may be picked, and its choice is taken', () => {
    const fleet = equalServers(3);
    const given: unknown[] = [];
    const { balancer, mistakes } = make((all, call) => (given.push([...all], call), all.at(-1)), fleet);
    expect(balancer.pick(CALL)).toBe(fleet[2]);
    expect(balancer.pick(CALL, new Set([fleet[2]!]))).toBe(fleet[1]);
    expect(given).toEqual([fleet, CALL, fleet.slice(0, 2), CALL]);
    expect(mistakes).toEqual([]);
  });

  it.each<[string, PickFunction, string]>([
    ['undefined', () => undefined, 'the balancer function has returned undefined'],
    [
      'a stranger',
      () => equalServers(1)[0],
      'the balancer function has returned something that is none of the servers it may pick',
    ],
    [
      'a promise',
      (async () => equalServers(1)[0]) as unknown as PickFunction,
      'the balancer function has returned a promise: it must not be async',
    ],
    [
      'a promise that rejects',
      (() => Promise.reject(new Error('mine'))) as unknown as PickFunction,
      'the balancer function has returned a promise: it must not be async',
    ],
  ])('that returns %s loses no call, and is told of once', (_what, ask, message) => {
    const fleet = equalServers(3);
    const { balancer, mistakes } = make(ask, fleet);
    for (let i = 0; i < 1_000; i += 1) expect(fleet).toContain(balancer.pick(CALL));
    expect(mistakes).toEqual([[message]]);
  });

  it('that throws loses no call, and is told of once', () => {
    const fleet = equalServers(3);
    const error = new Error('mine');
    const { balancer, mistakes } = make(() => {
      throw error;
    }, fleet);
    for (let i = 0; i < 1_000; i += 1) expect(fleet).toContain(balancer.pick(CALL));
    expect(mistakes).toEqual([['the balancer function has thrown', error]]);
  });

  it('cannot pick what the call has tried', () => {
    const fleet = equalServers(3);
    const { balancer, mistakes } = make(() => fleet[0], fleet);
    for (let i = 0; i < 50; i += 1) expect(balancer.pick(CALL, new Set([fleet[0]!]))).not.toBe(fleet[0]);
    expect(mistakes).toHaveLength(1);
  });

  it('cannot change the servers of the next call', () => {
    const fleet = equalServers(3);
    const { balancer, mistakes } = make((all) => (all as Candidate[]).pop(), fleet);
    for (let i = 0; i < 10; i += 1) expect(fleet).toContain(balancer.pick(CALL));
    expect(mistakes).toEqual([['the balancer function has thrown', expect.any(TypeError)]]);
  });
});
