import { exponential, logarithm } from '../../bench/cluster/time/exponential.js';
import { RandomNumbers } from '../../lib/cluster/random-numbers.js';

const COUNT = 100_000;

function meanOf(draw: () => number): number {
  let sum = 0;
  for (let i = 0; i < COUNT; i += 1) sum += draw();
  return sum / COUNT;
}

it('gives the same numbers for the same seed on every machine', () => {
  const random = new RandomNumbers(1);
  expect(Array.from({ length: 4 }, () => random.bits())).toMatchInlineSnapshot(`
   [
     393288148,
     2174103013,
     3814759091,
     2092745082,
   ]
  `);
  expect(new RandomNumbers(2).bits()).not.toBe(new RandomNumbers(1).bits());
});

it('spreads numbers evenly from 0 to 1', () => {
  const { next } = new RandomNumbers(3);
  const buckets = Array.from({ length: 10 }, () => 0);
  for (let i = 0; i < COUNT; i += 1) (buckets[Math.floor(next() * 10)] as number) += 1;
  // ten standard deviations of a fair count
  for (const count of buckets) expect(Math.abs(count - COUNT / 10)).toBeLessThan(1_000);
});

it.each([1e-9, 0.001, 0.3, 0.5, 0.7499, 0.75, 0.9, 1])('knows the logarithm of %d', (x) => {
  expect(logarithm(x)).toBeCloseTo(Math.log(x), 12);
});

it('draws exponential times with mean 1 and variance 1', () => {
  const random = new RandomNumbers(5);
  expect(meanOf(() => exponential(random))).toBeCloseTo(1, 1);
  expect(meanOf(() => (exponential(random) - 1) ** 2)).toBeCloseTo(1, 1);
  expect(meanOf(() => (exponential(random) > 2 ? 1 : 0))).toBeCloseTo(Math.exp(-2), 2);
});
