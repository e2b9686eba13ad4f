import { jest } from '@jest/globals';
import * as fc from 'fast-check';
import { MessageQueue, type ChannelMessage } from '../../../lib/rpc/channel/message-queue.js';

const message = (bytes: number): ChannelMessage => ({ header: {}, body: bytes, bytes, cost: 2 * bytes });

it('gives messages in the order in which they came, and counts their bytes and what they cost', () => {
  const queue = new MessageQueue();
  expect([queue.length, queue.bytes, queue.shift()]).toEqual([0, 0, undefined]);
  for (const size of [5, 7, 1]) queue.push(message(size));
  expect([queue.length, queue.bytes, queue.cost]).toEqual([3, 13, 26]);
  expect(queue.shift()).toEqual(message(5));
  expect([queue.length, queue.bytes]).toEqual([2, 8]);
  queue.push(message(2));
  expect([queue.shift()?.bytes, queue.shift()?.bytes, queue.shift()?.bytes]).toEqual([7, 1, 2]);
  expect([queue.length, queue.bytes, queue.shift()]).toEqual([0, 0, undefined]);
});

it('forgets all at once', () => {
  const queue = new MessageQueue();
  for (let i = 0; i < 2000; i++) queue.push(message(1));
  for (let i = 0; i < 1500; i++) queue.shift();
  queue.clear();
  expect([queue.length, queue.bytes, queue.shift()]).toEqual([0, 0, undefined]);
  queue.push(message(3));
  expect([queue.length, queue.bytes, queue.shift()?.bytes]).toEqual([1, 3, 3]);
});

it('is an array that shifts, whatever comes and goes', () => {
  // long runs, so that the used part is cut off in all ways
  const step = fc.oneof(
    fc.record({ push: fc.integer({ min: 1, max: 3000 }) }),
    fc.record({ shift: fc.integer({ min: 1, max: 3000 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const queue = new MessageQueue();
      const model: number[] = [];
      let next = 0;
      for (const it of steps) {
        if ('push' in it) {
          for (let i = 0; i < it.push; i++) {
            next += 1;
            queue.push(message(next));
            model.push(next);
          }
        } else {
          const taken = Array.from({ length: it.shift }, () => queue.shift()?.bytes);
          const expected = model.splice(0, it.shift);
          if (taken.some((bytes, i) => bytes !== expected[i])) return false;
        }
        if (queue.length !== model.length) return false;
        if (queue.bytes !== model.reduce((sum, bytes) => sum + bytes, 0)) return false;
      }
      return true;
    }),
    { numRuns: 200 },
  );
});

it('moves a message once on its way at most, however long the queue', () => {
  const count = 200_000;
  let moved = 0;
  const shift = jest.spyOn(Array.prototype, 'shift');
  const { slice } = Array.prototype;
  const slicing = jest.spyOn(Array.prototype, 'slice').mockImplementation(function (
    this: unknown[],
    ...range: [number?, number?]
  ) {
    const copy = slice.apply(this, range);
    moved += copy.length;
    return copy;
  });
  try {
    const queue = new MessageQueue();
    const it = message(1);
    for (let i = 0; i < count; i++) queue.push(it);
    while (queue.shift());
    expect([queue.length, queue.bytes, shift.mock.calls.length]).toEqual([0, 0, 0]);
  } finally {
    shift.mockRestore();
    slicing.mockRestore();
  }
  expect(moved).toBeGreaterThan(0); // memory of what was taken is given back
  expect(moved).toBeLessThanOrEqual(count);
});
