import * as fc from 'fast-check';
import { MessageQueue, type ChannelMessage } from '../../lib/rpc/message-queue.js';
import { cpuOf } from '../helpers/cpu.js';

const message = (bytes: number): ChannelMessage => ({ header: {}, body: bytes, bytes });

it('gives messages in the order in which they came, and counts their bytes', () => {
  const queue = new MessageQueue();
  expect([queue.length, queue.bytes, queue.shift()]).toEqual([0, 0, undefined]);
  for (const size of [5, 7, 1]) queue.push(message(size));
  expect([queue.length, queue.bytes]).toEqual([3, 13]);
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

it('takes the time of a queue, not of a shifting array', () => {
  const total = 200_000;
  /** All of them, so many at a time. */
  const cost = (count: number): number => {
    const it = message(1);
    return cpuOf(() => {
      for (let done = 0; done < total; done += count) {
        const queue = new MessageQueue();
        for (let i = 0; i < count; i++) queue.push(it);
        for (let i = 0; i < count; i++) queue.shift();
        if (queue.length !== 0 || queue.bytes !== 0) throw new Error('not empty');
      }
    });
  };
  // where a shift moves the rest, a message of a long queue costs some hundred times as much
  expect(cost(total)).toBeLessThan(20 * cost(500));
});
