import { DeadlineQueue, Expiring } from '../../../lib/rpc/time/deadline-queue.js';
import { FakeClock } from '../../helpers/fake-clock.js';
import { turn } from '../../helpers/fake-socket.js';
import { CountingClock } from '../../helpers/peer-pair.js';

class Entry extends Expiring {
  constructor(
    readonly name: string,
    private readonly log: string[],
    private readonly then?: (entry: Entry) => void,
  ) {
    super();
  }

  override expire(): void {
    this.log.push(this.name);
    this.then?.(this);
  }
}

let clock: FakeClock;
let counted: CountingClock;
let queue: DeadlineQueue;
let log: string[];

const entry = (name: string, then?: (it: Entry) => void): Entry => new Entry(name, log, then);

beforeEach(() => {
  clock = new FakeClock();
  counted = new CountingClock(clock);
  queue = new DeadlineQueue(counted);
  log = [];
});

afterEach(() => {
  clock.advance(1_000_000);
  expect(clock.pending).toBe(0);
});

it('expires entries of a duration in the order in which they came, each at its own time', () => {
  queue.add(entry('a'), 100);
  clock.advance(30);
  queue.add(entry('b'), 100);
  clock.advance(69);
  expect(log).toEqual([]);
  clock.advance(1);
  expect(log).toEqual(['a']);
  clock.advance(29);
  expect(log).toEqual(['a']);
  clock.advance(1);
  expect(log).toEqual(['a', 'b']);
});

it('expires entries of several durations by their time, not by their coming', () => {
  queue.add(entry('slow'), 300);
  queue.add(entry('fast'), 100);
  queue.add(entry('middle'), 200);
  clock.advance(1000);
  expect(log).toEqual(['fast', 'middle', 'slow']);
});

it('lets a removed entry be, wherever in its lane it stands', () => {
  const entries = ['a', 'b', 'c', 'd', 'e'].map((name) => entry(name));
  for (const it of entries) queue.add(it, 50);
  for (const index of [0, 2, 4]) queue.remove(entries[index] as Entry);
  clock.advance(50);
  expect(log).toEqual(['b', 'd']);
});

it('takes a removal twice, of an entry that was never added, and after it has expired', () => {
  const never = entry('never');
  queue.remove(never);
  const a = entry('a');
  queue.add(a, 10);
  queue.remove(a);
  queue.remove(a);
  const b = entry('b');
  queue.add(b, 10);
  clock.advance(10);
  queue.remove(b);
  expect(log).toEqual(['b']);
});

it('takes an entry again after it was removed or has expired, with another duration too', () => {
  const a = entry('a');
  queue.add(a, 100);
  clock.advance(90);
  queue.remove(a);
  queue.add(a, 100);
  clock.advance(99);
  expect(log).toEqual([]);
  clock.advance(1);
  expect(log).toEqual(['a']);
  queue.add(a, 5);
  clock.advance(5);
  expect(log).toEqual(['a', 'a']);
});

it('lets an entry come back from its own expiry', () => {
  let times = 0;
  const again = entry('again', (it) => {
    if (++times < 3) queue.add(it, 10);
  });
  queue.add(again, 10);
  clock.advance(10);
  expect(log).toHaveLength(1);
  clock.advance(10);
  expect(log).toHaveLength(2);
  clock.advance(100);
  expect(log).toHaveLength(3);
});

it('expires the rest at its own time, whatever an expiry adds', () => {
  queue.add(
    entry('a', () => queue.add(entry('again'), 100)),
    100,
  );
  clock.advance(50);
  queue.add(entry('b'), 100);
  clock.advance(50);
  expect(log).toEqual(['a']);
  clock.advance(50);
  expect(log).toEqual(['a', 'b']);
  clock.advance(50);
  expect(log).toEqual(['a', 'b', 'again']);
});

describe('after the process stood still', () => {
  it('looks at the sockets first: what is settled there does not expire', async () => {
    const [found, lost] = [entry('found'), entry('lost')];
    queue.add(found, 100);
    queue.add(lost, 100);
    clock.stall(500);
    expect(log).toEqual([]);
    queue.remove(found);
    await turn();
    await turn();
    expect(log).toEqual(['lost']);
  });

  it('goes on looking while that settles more', async () => {
    const entries = ['a', 'b', 'c', 'd', 'e'].map((name) => entry(name));
    for (const it of entries) queue.add(it, 100);
    clock.stall(500);
    for (const it of entries.slice(0, 4)) {
      queue.remove(it);
      await turn();
    }
    expect(log).toEqual([]);
    await turn();
    expect(log).toEqual(['e']);
  });

  it('looks for no longer than it stood still', async () => {
    const entries = ['a', 'b', 'c', 'd'].map((name) => entry(name));
    for (const it of entries) queue.add(it, 100);
    clock.stall(500);
    queue.remove(entries[0] as Entry);
    await turn();
    clock.advance(400);
    queue.remove(entries[1] as Entry);
    await turn();
    expect(log).toEqual(['c', 'd']);
  });

  it('counts the time of what is added meanwhile', async () => {
    queue.add(entry('late'), 100);
    clock.stall(500);
    queue.add(entry('new'), 100);
    await turn();
    expect(log).toEqual(['late']);
    clock.advance(99);
    expect(log).toEqual(['late']);
    clock.advance(1);
    expect(log).toEqual(['late', 'new']);
  });

  it('forgets a lane of which all was settled', async () => {
    const it = entry('found');
    queue.add(it, 100);
    clock.stall(500);
    queue.remove(it);
    await turn();
    expect(counted.pending).toBe(0);
    queue.add(entry('next'), 100);
    clock.advance(100);
    expect(log).toEqual(['next']);
  });
});

it('lets an expiry remove what would be due next', () => {
  const b = entry('b');
  queue.add(
    entry('a', () => queue.remove(b)),
    10,
  );
  queue.add(b, 10);
  queue.add(entry('c'), 10);
  clock.advance(10);
  expect(log).toEqual(['a', 'c']);
});

it('has one timer for a duration, however many wait, come and go', () => {
  for (let i = 0; i < 1000; i++) {
    const it = entry(String(i));
    queue.add(it, 100);
    if (i % 2 === 0) queue.remove(it);
  }
  expect(counted).toMatchObject({ pending: 1, made: 1 });
  for (const ms of [1, 2, 3]) for (let i = 0; i < 10; i++) queue.add(entry('x'), ms * 1000);
  expect(counted).toMatchObject({ pending: 4, made: 4 });
});

it('makes a few timers for a steady stream of calls, not one each', () => {
  for (let i = 0; i < 10_000; i++) {
    const it = entry(String(i));
    queue.add(it, 1000);
    clock.advance(1);
    queue.remove(it);
  }
  expect(log).toEqual([]);
  expect(counted.made).toBeLessThanOrEqual(12);
});

it('arms its timer for the oldest that is left, also when the first ones were removed', () => {
  const a = entry('a');
  queue.add(a, 100);
  clock.advance(60);
  queue.add(entry('b'), 100);
  queue.remove(a);
  clock.advance(99);
  expect(log).toEqual([]);
  clock.advance(1);
  expect(log).toEqual(['b']);
});

it('forgets a lane that is empty, and opens it again', () => {
  for (let round = 0; round < 3; round++) {
    queue.add(entry(`r${round}`), 100);
    clock.advance(100);
    expect(clock.pending).toBe(0);
  }
  expect(log).toEqual(['r0', 'r1', 'r2']);
});

it('keeps many durations apart', () => {
  for (let ms = 500; ms > 0; ms--) queue.add(entry(String(ms)), ms);
  expect(counted.pending).toBe(500);
  clock.advance(500);
  expect(log).toEqual(Array.from({ length: 500 }, (_, i) => String(i + 1)));
  expect(counted.pending).toBe(0);
});

it('has no timer each for durations that differ by parts of a millisecond', () => {
  // a server counts them from a caller's clock: X-rap-deadline is a float
  for (let i = 0; i < 1000; i++) queue.add(entry(String(i)), 8_000 + i / 1000);
  expect(counted.pending).toBeLessThanOrEqual(2);
  clock.advance(8_002);
  expect(log).toHaveLength(1000);
});

it('tells the time that an entry has left, and none if it does not wait', () => {
  const a = entry('a');
  expect(queue.timeLeftMs(a)).toBeUndefined();
  queue.add(a, 100);
  expect(queue.timeLeftMs(a)).toBe(100);
  clock.advance(30);
  expect(queue.timeLeftMs(a)).toBe(70);
  queue.remove(a);
  expect(queue.timeLeftMs(a)).toBeUndefined();
});
