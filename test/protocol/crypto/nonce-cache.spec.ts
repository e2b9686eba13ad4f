import { MAX_NONCES, NonceCache } from '../../../lib/protocol/crypto/nonce-cache.js';

const options = { keepSeconds: 181, sweepSeconds: 10 };
const NOW = 1_795_340_897;

it('takes a nonce once', () => {
  const cache = new NonceCache(options);
  expect(cache.add('a', NOW, NOW)).toBe(true);
  expect(cache.add('a', NOW, NOW)).toBe(false);
  expect(cache.add('a', NOW + 5, NOW)).toBe(false); // whatever its message says of the time
  expect(cache.add('b', NOW, NOW)).toBe(true);
});

it('remembers it for its time, and gives its memory back then', () => {
  const cache = new NonceCache(options);
  cache.add('a', NOW, NOW);
  expect(cache.add('a', NOW, NOW + 181)).toBe(false);
  expect(cache.add('b', NOW + 192, NOW + 192)).toBe(true);
  expect(cache.size).toBe(1);
});

it('goes on clearing after the clock was set back', () => {
  const cache = new NonceCache(options);
  cache.add('future', NOW + 3600, NOW + 3600);
  for (let i = 0; i < 1000; i++) cache.add(`n${i}`, NOW + i, NOW + i);
  expect(cache.size).toBeLessThan(250);
});

it('holds a flood of a million in bounded memory, and forgets none that could come again', () => {
  const cache = new NonceCache(options);
  let largest = 0;
  let taken = 0;
  for (let i = 0; i < 1_000_000; i++) {
    // ten thousand a second, as their timestamps have it
    if (cache.add(`n${i}`, NOW + i / 10_000, NOW + i / 10_000)) taken += 1;
    if (cache.size > largest) largest = cache.size;
  }
  expect(largest).toBe(MAX_NONCES);
  expect(taken).toBe(1_000_000);
  for (let i = 0; i < 1_000_000; i += 997)
    expect(cache.add(`n${i}`, NOW + i / 10_000, NOW + 100)).toBe(false);
});

it('refuses what is as old as what a flood made it forget', () => {
  const cache = new NonceCache({ ...options, maxNonces: 3 });
  for (const [nonce, at] of [
    ['a', 1],
    ['b', 2],
    ['c', 3],
    ['d', 4],
  ] as const) {
    expect(cache.add(nonce, NOW + at, NOW + 4)).toBe(true);
  }
  expect(cache.size).toBe(3);
  expect(cache.add('new', NOW + 1, NOW + 4)).toBe(false);
  expect(cache.add('newer', NOW + 2, NOW + 4)).toBe(true);
});

it('holds a flood within one second as well', () => {
  const cache = new NonceCache(options);
  let taken = 0;
  for (let i = 0; i < 200_000; i++) if (cache.add(`n${i}`, NOW, NOW)) taken += 1;
  expect(cache.size).toBeLessThanOrEqual(MAX_NONCES);
  expect(taken).toBe(MAX_NONCES + 1); // with the one too many, the second is closed
  expect(cache.add('n0', NOW, NOW)).toBe(false);
});

it('goes on taking messages of now under a flood of messages dated ahead', () => {
  const cache = new NonceCache(options);
  for (let i = 0; i < 2 * MAX_NONCES; i++) cache.add(`ahead${i}`, NOW + 59, NOW);
  expect(cache.add('honest', NOW, NOW)).toBe(true);
  expect(cache.add('a second behind', NOW - 1, NOW)).toBe(true);
  expect(cache.add('honest', NOW, NOW)).toBe(false);
  expect(cache.add('ahead0', NOW + 59, NOW)).toBe(false);
  expect(cache.add('ahead0', NOW + 59, NOW + 59)).toBe(false);
  expect(cache.size).toBeLessThanOrEqual(MAX_NONCES);
});
