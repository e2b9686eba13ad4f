import { MemoryRateStore, type Rate } from '../../lib/plugins/rate-store.js';
import { FakeClock } from '../helpers/fake-clock.js';

const RATE: Rate = { name: 'r', rate: 10, burst: 3, blockTimeMs: 0 };

function taken(store: MemoryRateStore, rate: Rate, key: string, tries: number): number {
  return Array.from({ length: tries }, () => store.take(rate, key)).filter((waitMs) => waitMs === 0).length;
}

it('allows the burst, then the rate, to each key', () => {
  const clock = new FakeClock();
  const store = new MemoryRateStore(clock, 100);
  expect([taken(store, RATE, 'a', 10), taken(store, RATE, 'b', 10)]).toEqual([3, 3]);
  clock.advance(1000);
  expect(taken(store, RATE, 'a', 10)).toBe(3); // never more than the burst
  let allowed = 0;
  for (let ms = 0; ms < 10_000; ms += 20) {
    clock.advance(20);
    allowed += taken(store, RATE, 'a', 3);
  }
  expect(allowed).toBe(100);
});

it('says how long to wait, and that is enough', () => {
  const clock = new FakeClock();
  const store = new MemoryRateStore(clock, 100);
  taken(store, RATE, 'a', 3);
  const waitMs = store.take(RATE, 'a');
  expect(waitMs).toBeCloseTo(100, 6);
  clock.advance(60);
  expect(store.take(RATE, 'a')).toBeCloseTo(40, 6);
  clock.advance(39.9);
  expect(store.take(RATE, 'a')).toBeGreaterThan(0);
  clock.advance(0.2);
  expect(store.take(RATE, 'a')).toBe(0);
});

it('blocks a key after an excess for the block time, counted from the first excess', () => {
  const clock = new FakeClock();
  const store = new MemoryRateStore(clock, 100);
  const rate = { ...RATE, blockTimeMs: 5000 };
  expect(taken(store, rate, 'a', 3)).toBe(3);
  expect(store.take(rate, 'a')).toBe(5000);
  clock.advance(3000);
  expect(store.take(rate, 'a')).toBe(2000);
  expect(store.take(rate, 'b')).toBe(0);
  clock.advance(2000);
  expect(taken(store, rate, 'a', 10)).toBe(3);
});

it('keeps rules apart', () => {
  const store = new MemoryRateStore(new FakeClock(), 100);
  expect(taken(store, RATE, 'a', 10)).toBe(3);
  expect(taken(store, { ...RATE, name: 's' }, 'a', 10)).toBe(3);
});

it('keeps a limited number of keys under a flood of them, those used last', () => {
  const clock = new FakeClock();
  const store = new MemoryRateStore(clock, 100);
  taken(store, RATE, 'busy', 3);
  for (let i = 0; i < 100_000; i++) {
    store.take(RATE, `flood ${i}`);
    if (i % 50 === 0) expect(store.take(RATE, 'busy')).toBeGreaterThan(0);
  }
  expect(store.size).toBe(100);
});
