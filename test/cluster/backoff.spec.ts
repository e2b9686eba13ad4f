import { Backoff, DEFAULT_RECONNECT, type ReconnectOptions } from '../../lib/cluster/backoff.js';

let now: number;

beforeEach(() => {
  now = 1_000_000;
});

function backoff(random: () => number, options: Partial<ReconnectOptions> = {}): Backoff {
  return new Backoff({ ...DEFAULT_RECONNECT, ...options }, () => now, random);
}

/** The highest delays that `count` failures in a row may bring, with the clock standing still. */
function bounds(count: number, options: Partial<ReconnectOptions> = {}): number[] {
  const it = backoff(() => 1, options);
  return Array.from({ length: count }, () => it.nextDelayMs());
}

it('has bounds that grow by the factor up to the first cap', () => {
  const expected = [50, 80, 128, 204.8, 327.68, 524.288, 750, 750, 750];
  for (const [i, bound] of bounds(9).entries()) expect(bound).toBeCloseTo(expected[i] as number, 6);
});

it('has full jitter: any delay from nothing to the bound', () => {
  for (const share of [0, 0.25, 0.5, 0.999]) {
    const it = backoff(() => share);
    for (const bound of bounds(9)) expect(it.nextDelayMs()).toBeCloseTo(bound * share, 6);
  }
});

it('draws anew each time', () => {
  const draws = [0.1, 0.9, 0.5];
  const it = backoff(() => draws.shift() ?? 0);
  expect([it.nextDelayMs(), it.nextDelayMs(), it.nextDelayMs()].map(Math.round)).toEqual([5, 72, 64]);
});

it('has the higher cap when the outage has lasted so long', () => {
  const it = backoff(() => 1);
  for (let i = 0; i < 20; i++) it.nextDelayMs();
  now += 9_999;
  expect(it.nextDelayMs()).toBe(750);
  now += 1;
  expect(it.nextDelayMs()).toBe(10_000);
  now += 3_600_000;
  expect(it.nextDelayMs()).toBe(10_000);
});

it('stays finite after any number of failures', () => {
  const it = backoff(() => 1);
  for (let i = 0; i < 5_000; i++) it.nextDelayMs();
  expect(it.nextDelayMs()).toBe(750);
});

it('starts over after a connection that was stable', () => {
  const it = backoff(() => 1);
  for (let i = 0; i < 20; i++) it.nextDelayMs();
  now += 60_000;
  it.opened();
  now += 10_000;
  expect(it.nextDelayMs()).toBe(50);
  expect(it.nextDelayMs()).toBe(80);
});

it('goes on where it was after one that was not', () => {
  const it = backoff(() => 1);
  for (let i = 0; i < 20; i++) it.nextDelayMs();
  it.opened();
  now += 9_999;
  expect(it.nextDelayMs()).toBe(750);
});

it('counts a new outage from the loss of a stable connection, not from the last outage', () => {
  const it = backoff(() => 1);
  it.nextDelayMs();
  now += 60_000;
  it.opened();
  now += 60_000;
  for (let i = 0; i < 20; i++) expect(it.nextDelayMs()).toBeLessThanOrEqual(750);
  now += 10_000;
  expect(it.nextDelayMs()).toBe(10_000);
});

it('begins each outage anew with its connection, though none is stable', () => {
  const it = backoff(() => 1);
  for (let i = 0; i < 50; i++) {
    it.opened();
    now += 5_000;
    for (let down = 0; down < 600;) {
      const delay = it.nextDelayMs();
      expect(delay).toBeLessThanOrEqual(750);
      down += delay;
      now += delay;
    }
  }
});

it('becomes patient again in a long outage that follows short connections', () => {
  const it = backoff(() => 1);
  it.opened();
  now += 5_000;
  for (let i = 0; i < 20; i++) it.nextDelayMs();
  now += 10_000;
  expect(it.nextDelayMs()).toBe(10_000);
});

it('is not patient with a server that opens connections and drops them, but bounded', () => {
  const it = backoff(() => 1);
  let delay = 0;
  let attempts = 0;
  // each connection lives for 100 ms: none is stable
  for (let elapsed = 0; elapsed < 60_000; elapsed += 100 + delay, attempts++) {
    it.opened();
    now += 100;
    delay = it.nextDelayMs();
    now += delay;
  }
  expect(delay).toBe(750);
  expect(attempts).toBeLessThan(80);
});

/** Longest time that a call waits, with a server that is up for `upMs` and down for `downMs` in turn, for ten minutes. */
function longestWait(upMs: number, downMs: number, isOrderly: boolean): number {
  let longest = 0;
  for (let seed = 1; seed <= 10; seed++) {
    const it = backoff(seeded(seed));
    const end = now + 600_000;
    while (now < end) {
      it.opened();
      now += upMs;
      const lostAt = now;
      now += it.nextDelayMs({ isOrderly });
      while (now - lostAt < downMs) now += it.nextDelayMs();
      longest = Math.max(longest, now - lostAt - downMs);
    }
  }
  return longest;
}

/** Numbers from 0 to 1, the same for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

describe.each([
  ['crashes', false],
  ['shuts down in order', true],
])('a server that %s again and again', (_how, isOrderly) => {
  it.each([
    [3_300, 700],
    [300, 700],
    [900, 100],
    [9_000, 2_000],
  ])('is found soon each time: up for %d ms, down for %d', (upMs, downMs) => {
    expect(longestWait(upMs, downMs, isOrderly)).toBeLessThanOrEqual(750);
  });
});

it('starts over after an orderly shutdown', () => {
  const it = backoff(() => 1);
  for (let i = 0; i < 20; i++) it.nextDelayMs();
  it.opened();
  now += 750;
  expect([it.nextDelayMs({ isOrderly: true }), it.nextDelayMs()]).toEqual([50, 80]);
});

it('does not start over with a server that shuts down as soon as it is reached', () => {
  const it = backoff(() => 1);
  for (let i = 0; i < 20; i++) {
    it.opened();
    now += 10;
    it.nextDelayMs({ isOrderly: true });
  }
  expect(it.nextDelayMs({ isOrderly: true })).toBe(750);
});

it('an outage of 2 s is over at most 250 ms after it for half of the clients, with 5 attempts a second', () => {
  const random = seeded(7);
  let attempts = 0;
  const waits = Array.from({ length: 2_000 }, () => {
    const it = backoff(random);
    for (let at = it.nextDelayMs(); ; at += it.nextDelayMs()) {
      if (at >= 2_000) return at - 2_000;
      attempts += 1;
    }
  });
  const median = waits.toSorted((a, b) => a - b)[waits.length / 2] as number;
  expect(median).toBeLessThanOrEqual(250);
  const perSecond = attempts / waits.length / 2;
  expect(perSecond).toBeLessThanOrEqual(5);
  expect(perSecond).toBeGreaterThan(4);
});

it.each([1, 2, 5])(
  'lets a fleet of clients come back spread out if others take the calls (attempt %d)',
  (nth) => {
    const buckets = new Map<number, number>();
    const random = seeded(3);
    const clients = 10_000;
    for (let i = 0; i < clients; i++) {
      const it = backoff(random);
      let at = 0;
      for (let attempt = 0; attempt < nth; attempt++) at += it.nextDelayMs({ hasOthers: true });
      const bucket = Math.floor(at / 100);
      buckets.set(bucket, (buckets.get(bucket) ?? 0) + 1);
    }
    expect(Math.max(...buckets.values()) / clients).toBeLessThanOrEqual(0.05);
  },
);

it('takes its options', () => {
  expect(backoff(() => 1, { spreadMs: 70 }).nextDelayMs({ hasOthers: true })).toBe(70);
  expect(bounds(4, { baseDelayMs: 10, factor: 3, maxDelayMs: 100 })).toEqual([10, 30, 90, 100]);
  expect(bounds(2, { baseDelayMs: 0 })).toEqual([0, 0]);
  const it = backoff(() => 1, { patientAfterMs: 0, patientDelayMs: 60 });
  expect([it.nextDelayMs(), it.nextDelayMs()]).toEqual([50, 60]);
});

it('takes twice the time while no server takes calls, and more for the soon ones of many than for a single server', () => {
  const it = backoff(() => 1);
  expect(it.nextDelayMs({ hasOthers: true, isOutage: false })).toBe(4_000);
  expect(it.nextDelayMs({ hasOthers: true, isOutage: true })).toBe(8_000);
  expect(it.nextDelayMs({ isOneOfMany: true, isOutage: true })).toBe(1_125);
  expect(it.soonMs()).toBe(1_125);
  expect(backoff(() => 1).nextDelayMs({ isOutage: true })).toBe(50);
});

it('spreads clients that lose their server at the same moment', () => {
  const delays = Array.from({ length: 500 }, () => new Backoff(DEFAULT_RECONNECT, () => now).nextDelayMs());
  expect(Math.min(...delays)).toBeLessThan(10);
  expect(Math.max(...delays)).toBeGreaterThan(40);
  expect(Math.max(...delays)).toBeLessThanOrEqual(50);
  expect(new Set(delays).size).toBeGreaterThan(490);
});
