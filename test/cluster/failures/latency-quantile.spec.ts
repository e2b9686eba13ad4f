import { LatencyQuantile } from '../../../lib/cluster/failures/latency-quantile.js';
import { seededRandom } from '../../helpers/seeded-random.js';

function record(it: LatencyQuantile, ...all: number[]): void {
  for (const ms of all) it.record(ms);
}

/** Times with a long tail. */
function times(random: () => number, count: number, scale: number): number[] {
  return Array.from({ length: count }, () => scale * Math.exp(2 * random() ** 2));
}

it.each([0.1, 1, 10, 500, 30_000])('finds the p95 around %d ms, at most a fifth too long', (scale) => {
  const all = times(seededRandom(1), 400, scale);
  const it = new LatencyQuantile(0.95);
  record(it, ...all);
  const exact = all.toSorted((a, b) => a - b)[379] as number;
  expect(it.value()).toBeGreaterThanOrEqual(exact);
  expect(it.value()).toBeLessThanOrEqual(exact * 1.2);
});

it.each([0.5, 0.9, 0.99])('finds the quantile %d of one to a hundred', (quantile) => {
  const it = new LatencyQuantile(quantile);
  record(it, ...Array.from({ length: 100 }, (_, i) => i + 1));
  expect(it.value()).toBeGreaterThanOrEqual(quantile * 100);
  expect(it.value()).toBeLessThanOrEqual(quantile * 120);
});

it('forgets: after some hundred calls the latency is that of now', () => {
  const it = new LatencyQuantile(0.95);
  for (let i = 0; i < 100_000; i++) it.record(1000);
  expect(it.value()).toBeGreaterThanOrEqual(1000);
  for (let i = 0; i < 3_000; i++) it.record(1);
  expect(it.value()).toBeLessThan(1.2);
  for (let i = 0; i < 100; i++) it.record(1000);
  expect(it.value()).toBeGreaterThanOrEqual(1000);
  expect(it.count).toBeLessThan(512);
});

it('keeps enough of many different latencies when it forgets', () => {
  const random = seededRandom(2);
  const it = new LatencyQuantile(0.95);
  for (let i = 0; i < 50_000; i++) {
    it.record(10 ** (random() * 7 - 2));
    if (i > 1000) expect(it.count).toBeGreaterThan(150);
  }
});

it('survives any number', () => {
  const it = new LatencyQuantile(0.95);
  expect(it.value()).toBe(0);
  record(it, NaN, -1, 0, -Infinity, Number.MIN_VALUE);
  expect([it.count, it.value()]).toEqual([5, 0.0625]);
  it.clear();
  expect([it.count, it.value()]).toEqual([0, 0]);
  record(it, ...Array.from({ length: 40 }, () => Infinity));
  expect(it.value()).toBe(0.0625 * 2 ** 26);
});

it('does not compute again for each call', () => {
  const it = new LatencyQuantile(0.5);
  record(it, ...Array.from({ length: 100 }, () => 1));
  const before = it.value();
  record(it, ...Array.from({ length: 15 }, () => 1000));
  expect(it.value()).toBe(before);
  record(it, ...Array.from({ length: 100 }, () => 1000));
  expect(it.value()).toBeGreaterThanOrEqual(1000);
});
