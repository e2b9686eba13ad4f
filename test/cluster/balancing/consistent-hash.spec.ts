import type { Candidate, PickedCall } from '../../../lib/cluster/balancing/balancer.js';
import { ConsistentHash } from '../../../lib/cluster/balancing/consistent-hash.js';
import { turn } from '../../helpers/async.js';
import {
  consistentHash,
  type ConsistentHashOptions,
  type HashKey,
} from '../../../lib/cluster/balancing/consistent-hash-option.js';
import { CALL, equalServers, seeded, server, servers } from './fleet.js';

const KEYS = Array.from({ length: 3_000 }, (_, i) => `user ${i}`);

function make(fleet: readonly Candidate[], key: HashKey = { body: 'key' }, boundedLoad?: number, seed = 1) {
  const mistakes: unknown[][] = [];
  const balancer = new ConsistentHash(consistentHash({ key, boundedLoad }), {
    now: () => 0,
    random: seeded(seed),
    mistaken: (...mistake) => mistakes.push(mistake),
  });
  balancer.update(fleet);
  return { balancer, mistakes };
}

function keyed(key: unknown): PickedCall {
  return { ...CALL, body: { key } };
}

function owners(balancer: ConsistentHash): (string | undefined)[] {
  return KEYS.map((key) => balancer.pick(keyed(key))?.address);
}

it.each([3, 40, 300])(
  'of %i servers, one that goes moves only its own keys, and one that comes only takes some',
  (count) => {
    const fleet = equalServers(count);
    const { balancer } = make(fleet);
    const before = owners(balancer);
    const gone = fleet[1]!;
    balancer.update(fleet.filter((each) => each !== gone));
    const without = owners(balancer);
    before.forEach((owner, i) => {
      if (owner === gone.address) expect(without[i]).not.toBe(owner);
      else expect(without[i]).toBe(owner);
    });
    balancer.update(fleet);
    expect(owners(balancer)).toEqual(before);
  },
);

it('agrees with a client that has seen other changes, in another order', () => {
  const all = equalServers(120);
  const random = seeded(4);
  const { balancer } = make(all);
  for (let round = 0; round < 60; round += 1) {
    const listed = all.filter(() => random() < 0.9).toSorted(() => random() - 0.5);
    balancer.update(listed);
    if (round % 3 === 0)
      expect(owners(balancer)).toEqual(owners(make(listed, undefined, undefined, round).balancer));
  }
});

it('keeps its keys when a server is listed by a new object, and picks that object', () => {
  const fleet = equalServers(5);
  const { balancer } = make(fleet);
  const before = owners(balancer);
  const renewed = equalServers(5);
  balancer.update(renewed);
  expect(owners(balancer)).toEqual(before);
  expect(renewed).toContain(balancer.pick(keyed('a')));
});

it('gives servers keys in proportion to their weights, and moves few when one changes', () => {
  const fleet = servers([1, 2, 4, 1]);
  const { balancer } = make(fleet);
  const before = owners(balancer);
  const share = (index: number): number =>
    before.filter((owner) => owner === fleet[index]!.address).length / KEYS.length;
  [0.125, 0.25, 0.5, 0.125].forEach((expected, i) => expect(share(i)).toBeCloseTo(expected, 1));
  balancer.update([server(0, 2), ...fleet.slice(1)]);
  owners(balancer).forEach((owner, i) => expect([before[i], fleet[0]!.address]).toContain(owner));
});

it.each([
  [40, 1],
  [1_000, 1],
  [40, 500],
])('of %i servers none has more than 1.25 times the mean in flight, with %i keys', (count, keys) => {
  const fleet = equalServers(count);
  const { balancer } = make(fleet);
  const random = seeded(6);
  const total = count * 4;
  for (let i = 0; i < total; i += 1) {
    const picked = balancer.pick(keyed(`key ${Math.floor(random() * keys)}`))!;
    expect(picked.traffic.inFlight).toBeLessThan(Math.ceil((1.25 * (i + 1)) / count));
    picked.traffic.begin(0);
  }
});

it('honours the weights in the bound', () => {
  const fleet = servers([3, 1, 0]);
  const { balancer } = make(fleet);
  for (let i = 0; i < 400; i += 1) balancer.pick(keyed('hot'))!.traffic.begin(0);
  const [heavy, light, standby] = fleet.map(({ traffic }) => traffic.inFlight);
  expect(heavy).toBeLessThanOrEqual(375);
  expect(light).toBeLessThanOrEqual(125);
  expect(standby).toBe(0);
});

it('comes back to the first server of a key when its calls have ended', () => {
  const fleet = equalServers(10);
  const { balancer } = make(fleet);
  const first = balancer.pick(keyed('a'))!;
  first.traffic.begin(0);
  expect(balancer.pick(keyed('a'))).not.toBe(first);
  first.traffic.end(1, 0, 'answered');
  expect(balancer.pick(keyed('a'))).toBe(first);
});

it('does not move a key without a bound', () => {
  const fleet = equalServers(10);
  const { balancer } = make(fleet, { body: 'key' }, Infinity);
  for (let i = 0; i < 100; i += 1) balancer.pick(keyed('a'))!.traffic.begin(0);
  expect(fleet.filter(({ traffic }) => traffic.inFlight > 0)).toHaveLength(1);
});

it('picks the second server of a key if the first has been tried, and always the same', () => {
  const fleet = equalServers(30);
  const { balancer } = make(fleet);
  const avoid = new Set([balancer.pick(keyed('a'))!]);
  const second = new Set(Array.from({ length: 20 }, () => balancer.pick(keyed('a'), avoid)));
  expect(second.size).toBe(1);
  balancer.update(fleet.filter((each) => !avoid.has(each)));
  expect(second).toEqual(new Set([balancer.pick(keyed('a'))]));
});

it.each<[string, HashKey, PickedCall]>([
  ['a header by its name', 'tenant', { ...CALL, header: { tenant: 'a' } }],
  ['a header', { header: 'tenant' }, { ...CALL, header: { tenant: 'a' } }],
  ['a property of the body', { body: 'user' }, { ...CALL, body: { user: 'a' } }],
  ['a function', ({ target }) => target, CALL],
  ['a number', { body: 'user' }, { ...CALL, body: { user: 7 } }],
])('reads the key from %s', (_from, key, call) => {
  const { balancer } = make(equalServers(50), key);
  expect(new Set(Array.from({ length: 50 }, () => balancer.pick(call))).size).toBe(1);
});

it.each([undefined, null, 'text', {}, { key: {} }, { key: null }])(
  'spreads calls without a key: body %j',
  (body) => {
    const { balancer } = make(equalServers(10));
    expect(new Set(Array.from({ length: 100 }, () => balancer.pick({ ...CALL, body }))).size).toBe(10);
  },
);

it('loses no call when the key function throws, and says so once', () => {
  const error = new Error('no user');
  const { balancer, mistakes } = make(equalServers(3), () => {
    throw error;
  });
  for (let i = 0; i < 10; i += 1) expect(balancer.pick(CALL)).toBeDefined();
  expect(mistakes).toEqual([['the key function of consistentHash() has thrown', error]]);
});

it.each([() => Promise.resolve('a'), () => Promise.reject(new Error('no user'))])(
  'loses no call when the key function is async, and says so once',
  async (key) => {
    const { balancer, mistakes } = make(equalServers(3), key as never);
    for (let i = 0; i < 10; i += 1) expect(balancer.pick(CALL)).toBeDefined();
    await turn(); // a rejection would end the process
    expect(mistakes).toEqual([
      ['the key function of consistentHash() has returned a promise: it must not be async'],
    ]);
  },
);

it.each<[unknown, string]>([
  [undefined, 'consistentHash() needs an object with its options, got undefined'],
  ['tenant', "consistentHash() needs an object with its options, got 'tenant'"],
  [
    { key: 'a', boundedload: 2 },
    'consistentHash.boundedload is not an option; did you mean consistentHash.boundedLoad?',
  ],
  [
    { key: { headers: 'a' } },
    'consistentHash.key.headers is not an option; did you mean consistentHash.key.header?',
  ],
])('refuses the options %j', (options, message) => {
  const refused = (): unknown => consistentHash(options as ConsistentHashOptions);
  expect(refused).toThrow(RangeError);
  expect(refused).toThrow(message);
});

it.each([undefined, 5, null, '', {}, { header: '' }, { body: 3 }, { header: 'a', body: 'b' }])(
  'refuses the key %j',
  (key) => {
    expect(() => consistentHash({ key: key as HashKey })).toThrow(
      /^key of consistentHash\(\) must be the name of a header/,
    );
  },
);

it.each([0, 0.99, Number.NaN, '2'])('refuses the bound %p', (boundedLoad) => {
  expect(() => consistentHash({ key: 'a', boundedLoad: boundedLoad as number })).toThrow(RangeError);
});
