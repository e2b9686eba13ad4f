import { balancerOf, type BalancerOption } from '../../../lib/cluster/balancing/balancer-of.js';
import type { Balancer, Candidate } from '../../../lib/cluster/balancing/balancer.js';
import { consistentHash } from '../../../lib/cluster/balancing/consistent-hash-option.js';
import { CALL, equalServers, seeded, server, servers, shares } from './fleet.js';

const byBody = consistentHash({ key: (call) => call.body as string });
const OPTIONS: readonly [string, BalancerOption][] = [
  ['p2c', 'p2c'],
  ['roundRobin', 'roundRobin'],
  ['random', 'random'],
  ['weighted', 'weighted'],
  ['leastInFlight', 'leastInFlight'],
  ['consistentHash', byBody],
  ['consistentHash without key', consistentHash({ key: 'tenant' })],
  ['a function', (all) => all[0]],
];

function make(option: BalancerOption, seed = 1): Balancer {
  return balancerOf(option, { now: () => 0, random: seeded(seed) });
}

function picksOf(
  balancer: Balancer,
  count: number,
  avoid?: ReadonlySet<Candidate>,
): Set<Candidate | undefined> {
  return new Set(
    Array.from({ length: count }, (_, i) => balancer.pick({ ...CALL, body: `key ${i}` }, avoid)),
  );
}

describe.each(OPTIONS)('%s', (_name, option) => {
  it('picks nothing among none, before and after an update', () => {
    const balancer = make(option);
    expect(balancer.pick(CALL)).toBeUndefined();
    balancer.update([]);
    expect(balancer.pick(CALL)).toBeUndefined();
    balancer.update(equalServers(3));
    balancer.update([]);
    expect(balancer.pick(CALL, new Set(equalServers(1)))).toBeUndefined();
  });

  it('picks the only one, even if it has been tried or has no weight', () => {
    for (const weight of [1, 0]) {
      const only = server(0, weight);
      const balancer = make(option);
      balancer.update([only]);
      expect(picksOf(balancer, 20)).toEqual(new Set([only]));
      expect(picksOf(balancer, 20, new Set([only]))).toEqual(new Set([only]));
    }
  });

  it('picks what has been tried only if there is no other', () => {
    const fleet = equalServers(5);
    const balancer = make(option);
    balancer.update(fleet);
    for (let tried = 1; tried < 5; tried += 1) {
      const avoid = new Set(fleet.slice(0, tried));
      for (const picked of picksOf(balancer, 200, avoid))
        expect(fleet.indexOf(picked!)).toBeGreaterThanOrEqual(tried);
    }
    expect(fleet).toContain(balancer.pick(CALL, new Set(fleet)));
  });

  it('picks a server of weight 0, or of no valid one, only if all others have been tried', () => {
    const fleet = servers([0, 3, Number.NaN, 1, -1]);
    const [zero, heavy, invalid, light, negative] = fleet as [
      Candidate,
      Candidate,
      Candidate,
      Candidate,
      Candidate,
    ];
    const balancer = make(option);
    balancer.update(fleet);
    for (const picked of picksOf(balancer, 500)) expect([heavy, light]).toContain(picked);
    expect(picksOf(balancer, 100, new Set([heavy]))).toEqual(new Set([light]));
    expect(picksOf(balancer, 300, new Set([heavy, light]))).toEqual(new Set([zero, invalid, negative]));
    for (const picked of picksOf(balancer, 100, new Set(fleet))) expect([heavy, light]).toContain(picked);
  });

  it('bears weights at the ends of what a number can be', () => {
    const fleet = servers([Number.MIN_VALUE, Number.MAX_VALUE, Infinity, 1]);
    const balancer = make(option);
    balancer.update(fleet);
    for (const picked of picksOf(balancer, 500)) expect(fleet).toContain(picked);
  });

  it('picks only from the last update while servers go and come, with calls in flight', () => {
    const all = equalServers(40);
    const random = seeded(7);
    const balancer = make(option);
    for (let round = 0; round < 100; round += 1) {
      const listed = all.filter(() => random() < 0.3);
      balancer.update(listed);
      for (let i = 0; i < 10; i += 1) {
        const picked = balancer.pick({ ...CALL, body: `key ${i}` });
        if (listed.length === 0) expect(picked).toBeUndefined();
        else expect(listed).toContain(picked);
        picked?.traffic.begin(0);
        if (picked && random() < 0.7) picked.traffic.end(1, 0, 'answered');
      }
    }
  });

  it('does not keep or change the array it is given', () => {
    const fleet = equalServers(3);
    const balancer = make(option);
    balancer.update(Object.freeze([...fleet]));
    const given = [...fleet];
    balancer.update(given);
    given.length = 0;
    expect(fleet).toContain(balancer.pick(CALL));
  });

  it('has the same picks for the same seed', () => {
    const [one, other] = [1, 1].map((seed) => {
      const fleet = equalServers(20);
      const balancer = make(option, seed);
      balancer.update(fleet);
      return Array.from({ length: 200 }, (_, i) => fleet.indexOf(balancer.pick({ ...CALL, body: `${i}` })!));
    });
    expect(one).toEqual(other);
  });
});

/** What a candidate is asked for, counted. */
function counted(fleet: readonly Candidate[], touched: { count: number }): Candidate[] {
  return fleet.map(({ address, weight, traffic }) => ({
    address,
    weight,
    get traffic() {
      touched.count += 1;
      return traffic;
    },
  }));
}

it.each(OPTIONS.slice(0, -1))('%s looks at a handful of 1,000 servers for each pick', (_name, option) => {
  const touched = { count: 0 };
  const balancer = make(option);
  balancer.update(counted(equalServers(1_000), touched));
  const call = { ...CALL, body: 'key' };
  balancer.pick(call);
  touched.count = 0;
  for (let i = 0; i < 1_000; i += 1) balancer.pick(call);
  expect(touched.count).toBeLessThanOrEqual(8_000);
});

it.each(['random', 'weighted'] as const)('%s follows the weights', (option) => {
  const fleet = servers([5, 1, 3, 1]);
  const balancer = make(option);
  balancer.update(fleet);
  const found = shares(balancer, fleet, 40_000);
  [0.5, 0.1, 0.3, 0.1].forEach((share, i) => expect(found[i]).toBeCloseTo(share, 2));
});

it('random follows the weights of those that are left', () => {
  const fleet = servers([1_000, 3, 1]);
  const balancer = make('random');
  balancer.update(fleet);
  const found = shares(balancer, fleet, 20_000, undefined, new Set([fleet[0]!]));
  expect(found[1]).toBeCloseTo(0.75, 1);
});

it.each(['roundRobin', 'random', 'weighted', 'leastInFlight', 'p2c'] as const)(
  '%s gives equal servers equal shares',
  (option) => {
    const fleet = equalServers(10);
    const balancer = make(option);
    balancer.update(fleet);
    for (const share of shares(balancer, fleet, 40_000)) expect(share).toBeCloseTo(0.1, 2);
  },
);

it('weighted spreads a heavy server evenly over time', () => {
  const fleet = servers([1, 2, 1]);
  const balancer = make('weighted');
  balancer.update(fleet);
  const rows = Array.from({ length: 20 }, () => shares(balancer, fleet, 4));
  expect(rows).toEqual(Array.from(rows, () => [0.25, 0.5, 0.25]));
});

it.each(['roundRobin', 'weighted', 'leastInFlight'] as const)(
  '%s lets clients that start together begin with different servers',
  (option) => {
    const fleet = equalServers(50);
    const firsts = Array.from({ length: 200 }, (_, seed) => {
      const balancer = make(option, seed);
      balancer.update(fleet);
      return balancer.pick(CALL);
    });
    expect(new Set(firsts).size).toBeGreaterThan(30);
  },
);

it('roundRobin goes through all in turn, and past those that have been tried', () => {
  const fleet = equalServers(4);
  const balancer = make('roundRobin');
  balancer.update(fleet);
  expect(new Set([1, 2, 3, 4].map(() => balancer.pick(CALL))).size).toBe(4);
  const avoid = new Set([fleet[1]!]);
  expect(new Set([1, 2, 3].map(() => balancer.pick(CALL, avoid)))).toEqual(
    new Set([fleet[0], fleet[2], fleet[3]]),
  );
});

describe('leastInFlight', () => {
  it('always picks a server with the fewest calls in flight', () => {
    const fleet = equalServers(50);
    const random = seeded(3);
    const balancer = make('leastInFlight');
    balancer.update(fleet);
    for (let i = 0; i < 1_000; i += 1) {
      const picked = balancer.pick(CALL)!;
      expect(picked.traffic.inFlight).toBe(Math.min(...fleet.map(({ traffic }) => traffic.inFlight)));
      picked.traffic.begin(0);
      const ended = fleet[Math.floor(random() * 50)]!.traffic;
      if (ended.inFlight > 0 && random() < 0.9) ended.end(1, 0, 'ignored');
    }
  });

  it('counts them relative to the weights', () => {
    const fleet = servers([3, 1]);
    const balancer = make('leastInFlight');
    balancer.update(fleet);
    for (let i = 0; i < 400; i += 1) balancer.pick(CALL)!.traffic.begin(0);
    expect(fleet.map(({ traffic }) => traffic.inFlight)).toEqual([300, 100]);
  });

  it('takes turns among idle servers', () => {
    const fleet = equalServers(10);
    const balancer = make('leastInFlight');
    balancer.update(fleet);
    const counts = new Map<Candidate, number>();
    for (let i = 0; i < 100; i += 1) {
      const picked = balancer.pick(CALL)!;
      picked.traffic.begin(i);
      picked.traffic.end(i, i, 'answered');
      counts.set(picked, (counts.get(picked) ?? 0) + 1);
    }
    expect([...counts.values()]).toEqual(Array.from({ length: 10 }, () => 10));
  });

  it('knows the calls that were in flight before the server was listed, and those that end after it has left', () => {
    const fleet = equalServers(3);
    fleet[0]!.traffic.begin(0);
    const balancer = make('leastInFlight');
    balancer.update(fleet);
    expect(picksOf(balancer, 10)).toEqual(new Set(fleet.slice(1)));
    balancer.update(fleet.slice(1));
    expect(fleet[0]!.traffic.watcher).toBeUndefined();
    fleet[0]!.traffic.end(1, 0, 'answered');
    balancer.update(fleet);
    expect(picksOf(balancer, 10)).toEqual(new Set(fleet));
  });
});
