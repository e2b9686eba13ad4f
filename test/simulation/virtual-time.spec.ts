import { RandomNumbers } from '../../lib/cluster/random-numbers.js';
import { type EventHandler, VirtualTime } from '../../bench/cluster/time/virtual-time.js';

class Recorder implements EventHandler {
  readonly seen: [us: number, argument: number][] = [];

  constructor(private readonly time: VirtualTime) {}

  onEvent(argument: number): void {
    this.seen.push([this.time.nowUs, argument]);
  }
}

it('runs events by their times, and those of one time in the order in which they came', () => {
  const time = new VirtualTime();
  const recorder = new Recorder(time);
  const random = new RandomNumbers(1);
  // few times, so that many events share one
  const added = Array.from({ length: 5_000 }, (_, index): [number, number] => [random.below(300), index]);
  for (const [us, index] of added) time.at(us, recorder, index);
  time.runUntil(1_000);
  expect(recorder.seen).toEqual(added.toSorted((a, b) => a[0] - b[0]));
  expect(time.pending).toBe(0);
});

it('runs what events add, and stops at the end', () => {
  const time = new VirtualTime();
  const seen: number[] = [];
  const ticker: EventHandler = {
    onEvent: () => {
      seen.push(time.nowUs);
      time.at(time.nowUs + 10, ticker);
    },
  };
  time.at(5, ticker);
  time.runUntil(30);
  expect(seen).toEqual([5, 15, 25]);
  expect(time.nowUs).toBe(30);
  expect(time.pending).toBe(1);
});

it('refuses an event in the past', () => {
  const time = new VirtualTime();
  time.runUntil(10);
  expect(() => time.at(9, { onEvent: () => undefined })).toThrow(RangeError);
  expect(() => time.at(NaN, { onEvent: () => undefined })).toThrow(RangeError);
});

it('is a clock whose timers can be cancelled, also after they have fired', () => {
  const time = new VirtualTime();
  const fired: string[] = [];
  const first = time.after(1, () => fired.push(`first at ${time.now()}`));
  time.after(2, () => fired.push('second')).cancel();
  time.runUntil(3_000);
  const third = time.after(1, () => fired.push('third'));
  // its slot is that of another timer by now
  first.cancel();
  time.runUntil(5_000);
  third.cancel();
  expect(fired).toEqual(['first at 1', 'third']);
});
