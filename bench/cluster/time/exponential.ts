import type { RandomNumbers } from '../../../lib/cluster/random-numbers.js';

const BITS = 16;
const COUNT = 1 << BITS;

/**
 * The natural logarithm of a number from 0 to 1, of additions, multiplications and divisions only: `Math.log` may differ in
 * its last bit between versions of V8, and one bit may change the order of two events.
 */
export function logarithm(x: number): number {
  let reduced = x;
  let halvings = 0;
  while (reduced < 0.75) {
    reduced *= 2;
    halvings += 1;
  }
  return seriesOf(reduced) - halvings * LN_2;
}

/** ln x = 2 artanh((x - 1) / (x + 1)), by its series. */
function seriesOf(x: number): number {
  const ratio = (x - 1) / (x + 1);
  const square = ratio * ratio;
  let power = ratio;
  let sum = 0;
  for (let odd = 1; odd < 60; odd += 2) {
    sum += power / odd;
    power *= square;
  }
  return 2 * sum;
}

const LN_2 = seriesOf(2);

/** The means of `COUNT` parts of an exponential distribution that are equally probable; their own mean is 1. */
const PARTS = parts();

function parts(): Float64Array {
  const values = Float64Array.from({ length: COUNT }, (_, index) => -logarithm((index + 0.5) / COUNT));
  let sum = 0;
  for (const value of values) sum += value;
  return values.map((value) => (value * COUNT) / sum);
}

/** A random time between two events that come independently of each other, as a multiple of the mean. */
export function exponential(random: RandomNumbers): number {
  return PARTS[random.bits() >>> (32 - BITS)] as number;
}
