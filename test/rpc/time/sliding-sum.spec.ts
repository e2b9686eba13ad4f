import { SlidingSum } from '../../../lib/rpc/time/sliding-sum.js';

const BUCKETS = 4;
const BUCKET_MS = 10;

/** The sum at some time, of something that happened at other times. */
function sumAt(now: number, ...times: readonly number[]): number {
  const sum = new SlidingSum(BUCKETS, BUCKET_MS, 0);
  for (const time of times) sum.add(time);
  return sum.at(now);
}

it.each([
  ['counts what happened in the window', 39, [0, 9, 10, 39], 4],
  ['forgets the oldest bucket as a whole', 40, [0, 9, 10, 39], 2],
  ['forgets all after a pause of a whole window', 79, [0, 10, 20, 39], 0],
  ['forgets all after a long pause, at once', 1e12, [0, 10, 20, 39], 0],
  ['counts in the current bucket if the time goes back', 35, [30, 5], 2],
])('%s', (_, now, times, expected) => expect(sumAt(now, ...times)).toBe(expected));

it('begins at any time', () => {
  const sum = new SlidingSum(BUCKETS, BUCKET_MS, 1e12);
  sum.add(1e12);
  expect([sum.at(1e12 + 39), sum.at(1e12 + 40)]).toEqual([1, 0]);
});
