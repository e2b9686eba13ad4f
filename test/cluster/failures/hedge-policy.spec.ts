import { DEFAULT_HEDGE, type HedgeOptions } from '../../../lib/cluster/failures/failure-options.js';
import { HedgePolicy } from '../../../lib/cluster/failures/hedge-policy.js';
import { RetryBudget } from '../../../lib/cluster/failures/retry-budget.js';
import { FakeClock } from '../../helpers/fake-clock.js';

let clock: FakeClock;

beforeEach(() => {
  clock = new FakeClock();
});

function retries(perSecond: number): RetryBudget {
  return new RetryBudget({ ratio: 0, perSecond }, () => clock.now());
}

function policy(options: Partial<HedgeOptions> = {}, budget = retries(1e6)): HedgePolicy {
  return new HedgePolicy({ options: { ...DEFAULT_HEDGE, ...options }, budget, now: () => clock.now() });
}

function answer(it: HedgePolicy, target: string, times: number, ms = 10): void {
  for (let i = 0; i < times; i++) it.answered(target, ms);
}

it('waits for the p95 of the target, and hedges none of which too little is known', () => {
  const it = policy();
  expect(it.delayFor('/a')).toBeUndefined();
  answer(it, '/a', 19);
  expect(it.delayFor('/a')).toBeUndefined();
  answer(it, '/a', 1, 500);
  expect(it.delayFor('/a')).toBeGreaterThanOrEqual(10);
  expect(it.delayFor('/a')).toBeLessThan(12);
  expect(it.delayFor('/b')).toBeUndefined();
});

it('is never shorter than a timer can be', () => {
  const it = policy();
  answer(it, '/a', 50, 0.2);
  expect(it.delayFor('/a')).toBe(1);
});

it('goes on hedging after calls were forgotten', () => {
  const it = policy({ minSamples: 128 });
  for (let i = 0; i < 5_000; i++) {
    it.answered('/a', 10);
    if (i >= 127) expect(it.delayFor('/a')).toBeDefined();
  }
});

it('hedges at most one call in twenty', () => {
  const it = policy();
  let taken = 0;
  for (let i = 1; i <= 10_000; i++) {
    clock.advance(1);
    it.called();
    if (it.take()) taken += 1;
    expect(taken).toBeLessThanOrEqual(i / 20);
  }
  expect(taken).toBeGreaterThan(495);
});

it('takes each hedge from the budget of the retries, and nothing from it for one that is not made', () => {
  const budget = retries(0.3);
  const it = policy({ maxRatio: 1 }, budget);
  expect(it.take()).toBe(false);
  for (let i = 0; i < 10; i++) it.called();
  expect(Array.from({ length: 5 }, () => it.take())).toEqual([true, true, true, false, false]);
  expect(budget.take()).toBe(false);
  // what the budget refused is not lost for the time when it has room
  clock.advance(9_000);
  for (let i = 0; i < 2; i++) it.called();
  clock.advance(1_000);
  expect(Array.from({ length: 3 }, () => it.take())).toEqual([true, true, false]);
});

it('keeps 1,024 targets: those that are used', () => {
  const it = policy();
  answer(it, '/hot', 20);
  for (let i = 0; i < 20_000; i++) {
    answer(it, `/cold${i}`, 20);
    it.answered('/hot', 10);
  }
  expect(it.delayFor('/hot')).toBeDefined();
  const kept = Array.from({ length: 20_000 }, (_, i) => it.delayFor(`/cold${i}`)).filter(Boolean);
  expect(kept).toHaveLength(1023);
  expect(it.delayFor('/cold19999')).toBeDefined();
});

it('a target that takes the place of another one knows nothing of it', () => {
  const it = policy();
  for (let i = 0; i < 1024; i++) answer(it, `/${i}`, 100, 5000);
  answer(it, '/new', 19, 1);
  expect(it.delayFor('/new')).toBeUndefined();
  answer(it, '/new', 1, 1);
  expect(it.delayFor('/new')).toBeLessThan(2);
});
