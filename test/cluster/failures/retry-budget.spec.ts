import { RetryBudget } from '../../../lib/cluster/failures/retry-budget.js';
import { FakeClock } from '../../helpers/fake-clock.js';
import { seededRandom } from '../../helpers/seeded-random.js';

let clock: FakeClock;

beforeEach(() => {
  clock = new FakeClock();
});

function budget(ratio: number, perSecond: number): RetryBudget {
  return new RetryBudget({ ratio, perSecond }, () => clock.now());
}

function takeAll(it: RetryBudget): number {
  let count = 0;
  while (count < 1e6 && it.take()) count += 1;
  return count;
}

function call(it: RetryBudget, count: number): void {
  for (let i = 0; i < count; i++) it.called();
}

it('lets a client without history repeat its first calls', () => {
  expect(takeAll(budget(0.2, 10))).toBe(100);
  expect(takeAll(budget(0.2, 0))).toBe(0);
});

it.each([5, 10, 15, 1000, 100_000])('gives a fifth of %i calls, to the last one', (calls) => {
  const it = budget(0.2, 0);
  call(it, calls);
  expect(takeAll(it)).toBe(calls / 5);
});

it.each([0.1, 0.3, 0.7, 1])('loses no repeat to the sums of %d', (ratio) => {
  const it = budget(ratio, 0);
  call(it, 10);
  expect(takeAll(it)).toBe(Math.round(ratio * 10));
});

it('says whether there is room, and takes none by that', () => {
  const it = budget(0, 0.1);
  for (let i = 0; i < 5; i++) expect(it.hasRoom()).toBe(true);
  expect([it.take(), it.hasRoom(), it.take()]).toEqual([true, false, false]);
});

it('forgets calls and repeats after ten seconds, not before', () => {
  const it = budget(0.2, 0);
  call(it, 100);
  clock.advance(9_000);
  expect(takeAll(it)).toBe(20);
  clock.advance(1_000);
  call(it, 5);
  // its 100 calls are gone, and its 20 repeats are not
  expect(takeAll(it)).toBe(0);
  clock.advance(9_000);
  call(it, 5);
  expect(takeAll(it)).toBe(2);
});

it('does not save up while nothing is called', () => {
  const it = budget(0.2, 10);
  for (let hour = 0; hour < 10; hour++) clock.advance(3_600_000);
  expect(takeAll(it)).toBe(100);
  clock.advance(3_600_000);
  expect(takeAll(it)).toBe(100);
});

it('survives a clock that begins at any time, and one that was frozen for days', () => {
  clock.advance(2 ** 40 + 0.5);
  const it = budget(0.2, 1);
  call(it, 10);
  clock.stall(864_000_000);
  expect(takeAll(it)).toBe(10);
  expect(takeAll(it)).toBe(0);
});

it.each([
  [0, 100],
  [499, 100],
  [500, 100],
  [505, 101],
  [10_000, 2_000],
])('gives the larger of a fifth of %i calls and ten a second', (calls, repeats) => {
  const it = budget(0.2, 10);
  call(it, calls);
  expect(takeAll(it)).toBe(repeats);
});

it('when all fails at once, adds no more than a fifth in any ten seconds to 50 calls a second and more', () => {
  const random = seededRandom(1);
  const it = budget(0.2, 10);
  let calls = 0;
  let repeats = 0;
  const log: { at: number; calls: number; repeats: number }[] = [];
  for (let ms = 0; ms < 60_000; ms += 10) {
    clock.advance(10);
    const count = Math.floor(random() * 40);
    call(it, count);
    calls += count;
    // from 20 s on everything fails, and each call wants two more attempts
    const wanted = ms < 20_000 ? 0 : count * 2;
    for (let i = 0; i < wanted; i++) if (it.take()) repeats += 1;
    log.push({ at: clock.now(), calls, repeats });
  }
  for (let end = 1_000; end < log.length; end++) {
    const [from, to] = [log[end - 1_000]!, log[end]!];
    // a bucket of a second leaves as a whole
    const calledBefore = log[Math.max(0, end - 1_100)]!.calls;
    expect(to.repeats - from.repeats).toBeLessThanOrEqual(0.2 * (to.calls - calledBefore));
  }
  // over the outage: a fifth of its calls, and of those of the ten seconds before
  const before = log[2_000]!.calls;
  expect(repeats).toBeLessThanOrEqual(0.2 * (calls - log[1_000]!.calls));
  expect(repeats / (calls - before)).toBeGreaterThan(0.2);
});
