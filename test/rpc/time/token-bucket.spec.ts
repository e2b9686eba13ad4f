import { TokenBucket } from '../../../lib/rpc/time/token-bucket.js';
import { FakeClock } from '../../helpers/fake-clock.js';

function taken(bucket: TokenBucket, tries: number): number {
  let count = 0;
  for (let i = 0; i < tries; i++) if (bucket.take()) count += 1;
  return count;
}

it('allows the burst at once and no more', () => {
  expect(taken(new TokenBucket(new FakeClock(), 60, 10), 100)).toBe(60);
});

it('fills up at its rate, also in parts of a token', () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(clock, 60, 10);
  taken(bucket, 60);
  clock.advance(99);
  expect(bucket.take()).toBe(false);
  clock.advance(1);
  expect(taken(bucket, 5)).toBe(1);
  clock.advance(1000);
  expect(taken(bucket, 100)).toBe(10);
});

it('does not lose the time of takes that failed', () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(clock, 1, 10);
  bucket.take();
  let allowed = 0;
  for (let ms = 0; ms < 1000; ms++) {
    clock.advance(1);
    if (bucket.take()) allowed += 1;
  }
  expect(allowed).toBeGreaterThanOrEqual(9);
  expect(allowed).toBeLessThanOrEqual(10);
});

it('holds no more than the burst, however long nobody asked', () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(clock, 60, 10);
  clock.advance(3_600_000);
  expect(taken(bucket, 1000)).toBe(60);
});

it('lets a Python client through: three pings every second', () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(clock, 60, 10);
  for (let second = 0; second < 600; second++) {
    expect(taken(bucket, 3)).toBe(3);
    clock.advance(1000);
  }
});

it('allows nothing with a burst of 0', () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(clock, 0, 10);
  clock.advance(10_000);
  expect(bucket.take()).toBe(false);
});
