import { LoopDelay } from '../../../lib/rpc/server/loop-delay.js';

let now = 0;
let loop: LoopDelay;
beforeEach(() => {
  now = 0;
  loop = new LoopDelay();
});

/** So many turns of the loop, each late by this much. */
function turns(count: number, delayMs: number): void {
  for (let i = 0; i < count; i++) {
    now += 25 + delayMs;
    loop.add(delayMs, now);
  }
}

it('knows nothing before it has five delays', () => {
  turns(4, 5000);
  expect(loop.medianMs).toBe(0);
  turns(1, 5000);
  expect(loop.medianMs).toBe(5000);
});

it('is the median of the last second', () => {
  turns(20, 2);
  turns(10, 8);
  expect(loop.medianMs).toBe(2);
  turns(12, 8);
  expect(loop.medianMs).toBe(8);
});

it('one long block does not count, however long', () => {
  turns(40, 1);
  turns(1, 60_000);
  expect(loop.medianMs).toBe(1);
  turns(2, 1);
  turns(1, 60_000);
  expect(loop.medianMs).toBe(1);
});

it('sees a loop that is slower than a turn in a second', () => {
  turns(40, 1);
  turns(2, 3000);
  expect(loop.medianMs).toBe(1);
  turns(1, 3000);
  expect(loop.medianMs).toBe(3000);
});

it.each([300, 900, 5000])('forgets within a tenth of a second that turns took %i ms', (delayMs) => {
  turns(100, delayMs);
  expect(loop.medianMs).toBe(delayMs);
  turns(4, 0);
  expect(loop.medianMs).toBe(0);
});

it('forgets all when it is told to', () => {
  turns(100, 300);
  loop.reset();
  expect(loop.medianMs).toBe(0);
  turns(4, 300);
  expect(loop.medianMs).toBe(0);
});

it('keeps what it needs and no more: it goes on for ever', () => {
  turns(1_000, 100);
  turns(1_000, 0);
  expect(loop.medianMs).toBe(0);
});
