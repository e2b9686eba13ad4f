import { stableSubset } from '../../lib/discovery/stable-subset.js';

const ITEMS = Array.from({ length: 200 }, (_, i) => ({ key: `10.0.0.${i}:9000` }));
const subset = (items: readonly { key: string }[], size = 20, seed = 7): Set<string> =>
  new Set(stableSubset(items, size, seed, ({ key }) => key).map(({ key }) => key));

it('is the same in any order, and another by another seed', () => {
  expect(subset(ITEMS.toReversed())).toEqual(subset(ITEMS));
  expect(subset(ITEMS).size).toBe(20);
  expect(subset(ITEMS, 20, 8)).not.toEqual(subset(ITEMS));
});

it('loses at most one member to a new item', () => {
  for (let n = 21; n < ITEMS.length; n += 1) {
    const before = subset(ITEMS.slice(0, n));
    const after = subset(ITEMS.slice(0, n + 1));
    expect([...before].filter((key) => !after.has(key)).length).toBeLessThan(2);
  }
});

it('is all of them if there are no more, and takes any size of at least 1', () => {
  expect(stableSubset(ITEMS, Infinity, 7, ({ key }) => key)).toBe(ITEMS);
  expect(subset(ITEMS, 1.5).size).toBe(1);
});
