import { AdaptiveBreaker } from '../../lib/plugins/adaptive-breaker.js';
import { FakeClock } from '../helpers/fake-clock.js';

function breakerAt(dice: { value: number }, k = 2): { breaker: AdaptiveBreaker; clock: FakeClock } {
  const clock = new FakeClock();
  return {
    clock,
    breaker: new AdaptiveBreaker({ k, windowMs: 120_000, clock, random: () => dice.value }),
  };
}

/** The probability of a refusal, found by trying dice; refusals count, so it is looked for once. */
function refuses(breaker: AdaptiveBreaker, dice: { value: number }, value: number): boolean {
  dice.value = value;
  return !breaker.allow();
}

it('lets everything through while half of the calls succeed', () => {
  const dice = { value: 0 };
  const { breaker } = breakerAt(dice);
  for (let i = 0; i < 100; i++) {
    expect(breaker.allow()).toBe(true);
    if (i % 2 === 0) breaker.success();
    else breaker.failure();
  }
});

it('does not take a burst that is under way for failures', () => {
  const { breaker } = breakerAt({ value: 0 });
  for (let i = 0; i < 1000; i++) expect(breaker.allow()).toBe(true);
});

/** 20 of 100 calls succeed. */
function fill(breaker: AdaptiveBreaker): void {
  for (let i = 0; i < 100; i++) {
    if (i % 5 === 0) breaker.success();
    else breaker.failure();
  }
}

it('refuses with the probability of the book', () => {
  // (requests - K * accepts) / (requests + 1) = (100 - 2 * 20) / 101 = 0.594...
  const dice = { value: 0 };
  const below = breakerAt(dice);
  fill(below.breaker);
  expect(refuses(below.breaker, dice, 60 / 101 - 1e-9)).toBe(true);
  const above = breakerAt(dice);
  fill(above.breaker);
  expect(refuses(above.breaker, dice, 60 / 101)).toBe(false);
});

it('counts what it refuses, so that a dead server gets less and less', () => {
  const dice = { value: 0 };
  const { breaker } = breakerAt(dice);
  breaker.failure();
  expect(refuses(breaker, dice, 0.5)).toBe(false); // 1/2
  expect(refuses(breaker, dice, 0.49)).toBe(true);
  expect(refuses(breaker, dice, 0.66)).toBe(true); // 2/3
  expect(refuses(breaker, dice, 0.75)).toBe(false); // 3/4
  for (let i = 0; i < 96; i++) breaker.failure();
  expect(refuses(breaker, dice, 0.985)).toBe(true);
  expect(refuses(breaker, dice, 1 - 1e-9)).toBe(false); // never all
});

it('forgets what is older than the window, part by part', () => {
  const dice = { value: 0 };
  const { breaker, clock } = breakerAt(dice);
  breaker.failure();
  clock.advance(60_000);
  breaker.failure();
  expect(refuses(breaker, dice, 0.66)).toBe(true); // 2/3, and counts
  clock.advance(60_000);
  expect(refuses(breaker, dice, 0.66)).toBe(true); // the first has gone, the refusal has come
  clock.advance(60_000);
  expect(refuses(breaker, dice, 0.5)).toBe(false); // 1/2
  clock.advance(10 ** 9);
  expect(refuses(breaker, dice, 0)).toBe(false);
});

it('a well server is called again', () => {
  const dice = { value: 0 };
  const { breaker, clock } = breakerAt(dice);
  for (let i = 0; i < 50; i++) breaker.failure();
  expect(refuses(breaker, dice, 0.9)).toBe(true);
  clock.advance(1000);
  for (let i = 0; i < 60; i++) breaker.success();
  expect(refuses(breaker, dice, 0)).toBe(false);
});
