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
  const expected = [50, 80, 128, 204.8, 327.68, 524.288, 838.8608, 1000, 1000];
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
  expect(it.nextDelayMs()).toBe(1_000);
  now += 1;
  expect(it.nextDelayMs()).toBe(10_000);
  now += 3_600_000;
  expect(it.nextDelayMs()).toBe(10_000);
});

it('stays finite after any number of failures', () => {
  const it = backoff(() => 1);
  for (let i = 0; i < 5_000; i++) it.nextDelayMs();
  expect(it.nextDelayMs()).toBe(1_000);
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
  expect(it.nextDelayMs()).toBe(1_000);
});

it('counts a new outage from the loss of a stable connection, not from the last outage', () => {
  const it = backoff(() => 1);
  it.nextDelayMs();
  now += 60_000;
  it.opened();
  now += 60_000;
  for (let i = 0; i < 20; i++) expect(it.nextDelayMs()).toBeLessThanOrEqual(1_000);
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
      expect(delay).toBeLessThanOrEqual(1_000);
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

it('becomes patient with a server that opens and drops connections for longer than a short outage', () => {
  const it = backoff(() => 1);
  let delay = 0;
  // each connection lives for 100 ms: none is stable, the outage goes on
  for (let elapsed = 0; elapsed < 60_000; elapsed += 100 + delay) {
    it.opened();
    now += 100;
    delay = it.nextDelayMs();
    now += delay;
  }
  expect(delay).toBe(10_000);
});

it('takes its options', () => {
  expect(bounds(4, { baseDelayMs: 10, factor: 3, maxDelayMs: 100 })).toEqual([10, 30, 90, 100]);
  expect(bounds(2, { baseDelayMs: 0 })).toEqual([0, 0]);
  const it = backoff(() => 1, { patientAfterMs: 0, patientDelayMs: 60 });
  expect([it.nextDelayMs(), it.nextDelayMs()]).toEqual([50, 60]);
});

it('spreads clients that lose their server at the same moment', () => {
  const delays = Array.from({ length: 500 }, () => new Backoff(DEFAULT_RECONNECT, () => now).nextDelayMs());
  expect(Math.min(...delays)).toBeLessThan(10);
  expect(Math.max(...delays)).toBeGreaterThan(40);
  expect(Math.max(...delays)).toBeLessThanOrEqual(50);
  expect(new Set(delays).size).toBeGreaterThan(490);
});
