import {
  adaptiveLimitOf,
  DEFAULT_ADAPTIVE_LIMIT,
  GradientLimit,
  type AdaptiveLimitOptions,
} from '../../../lib/rpc/server/gradient-limit.js';

const limitOf = (options: Partial<AdaptiveLimitOptions> = {}): GradientLimit =>
  new GradientLimit({ ...DEFAULT_ADAPTIVE_LIMIT, ...options });

/** Of a server that bears 50 calls at once, in milliseconds. */
const latencyOf = (inFlight: number): number => 10 * Math.max(1, inFlight / 50);

/** Windows in which all that is allowed runs. */
function busy(limit: GradientLimit, windows: number, latencyMs: number): void {
  for (let i = 0; i < windows; i++) limit.update(latencyMs, limit.limit);
}

it('grows while calls take as long as usual, up to its maximum', () => {
  const limit = limitOf({ max: 300 });
  busy(limit, 4, 10);
  expect(limit.limit).toBeGreaterThan(105);
  busy(limit, 400, 10);
  expect(limit.limit).toBe(300);
});

it('falls when calls take longer, and not below its minimum', () => {
  const limit = limitOf();
  busy(limit, 20, 10);
  const before = limit.limit;
  busy(limit, 8, 100);
  expect(limit.limit).toBeLessThan(before * 0.6);
  busy(limit, 40, 1000);
  expect(limit.limit).toBeGreaterThanOrEqual(20);
  expect(limit.limit).toBeLessThan(50);
});

it('never falls below its minimum, whatever comes', () => {
  const limit = limitOf({ min: 7, initial: 7 });
  for (let i = 0; i < 1000; i++) {
    limit.update(2 ** (i % 40), 1e9);
    expect(limit.limit).toBeGreaterThanOrEqual(7);
  }
});

it('grows again when the calls are fast again', () => {
  const limit = limitOf();
  busy(limit, 20, 10);
  busy(limit, 60, 500);
  const low = limit.limit;
  busy(limit, 40, 10);
  expect(limit.limit).toBeGreaterThan(low * 2);
});

it('tolerates calls that take a little longer than usual', () => {
  const limit = limitOf();
  busy(limit, 20, 10);
  const before = limit.limit;
  busy(limit, 5, 14);
  expect(limit.limit).toBeGreaterThan(before);
});

it('finds the limit of a server that bears 50 calls at once', () => {
  const limit = limitOf({ initial: 200 });
  busy(limit, 10, 10);
  for (let i = 0; i < 400; i++) limit.update(latencyOf(limit.limit), limit.limit);
  expect(limit.limit).toBeLessThan(200);
  expect(limit.limit).toBeGreaterThanOrEqual(40);
});

it('does not grow while less than half of it is used, and does not fall', () => {
  const limit = limitOf();
  for (let i = 0; i < 100; i++) limit.update(10, 49);
  for (let i = 0; i < 100; i++) limit.update(1000, 49);
  expect(limit.limit).toBe(100);
});

it.each([0, -1, NaN])('takes no latency of %p', (latency) => {
  const limit = limitOf();
  busy(limit, 50, latency);
  expect(limit.limit).toBe(100);
  busy(limit, 1, 10);
  expect(limit.limit).toBeGreaterThan(100);
});

it('fills in defaults that fit what is given', () => {
  expect(adaptiveLimitOf({})).toEqual(DEFAULT_ADAPTIVE_LIMIT);
  expect(adaptiveLimitOf({ max: 50 })).toEqual({ min: 20, max: 50, initial: 50, tolerance: 1.5 });
  expect(adaptiveLimitOf({ min: 2000 })).toEqual({ min: 2000, max: 2000, initial: 2000, tolerance: 1.5 });
});

it.each([
  [{ min: 0 }, 'min'],
  [{ min: NaN }, 'min'],
  [{ min: 50, max: 40 }, 'max'],
  [{ max: 10 }, 'max'],
  [{ initial: 19 }, 'initial'],
  [{ initial: 1001 }, 'initial'],
  [{ tolerance: 0.9 }, 'tolerance'],
  [{ tolerance: '2' as never }, 'tolerance'],
])('refuses %p', (given, name) => {
  expect(() => adaptiveLimitOf(given)).toThrow(new RegExp(`^adaptiveLimit\\.${name} must be a number from`));
});
