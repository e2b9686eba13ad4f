import { InputBudget } from '../../lib/net/input-budget.js';
import { turn } from '../helpers/fake-socket.js';
import { KIB, bytesOf, clock, open } from './fake-link.js';

/** A frame with a body of this many bytes, without its last one. */
const unfinished = (size: number): Buffer => bytesOf(3, 'x'.repeat(size)).subarray(0, -1);

describe('an unfinished frame', () => {
  const LIMITS = { incompleteFrameTimeoutMs: 30_000 };

  it('has its time from its first byte, not from its last: a drip gains nothing', async () => {
    const { socket, receiver } = open(LIMITS);
    const bytes = unfinished(200);
    for (let second = 0; second < 30; second++) {
      await socket.arrive(bytes.subarray(second, second + 1));
      clock.advance(1000);
    }
    expect(receiver.faults.map(({ message }) => message)).toEqual([]);
    clock.advance(200); // 30 bytes gain half a millisecond; the timer need not be that exact
    expect(receiver.faults.map(({ message }) => message)).toEqual(['incomplete frame']);
  });

  it('that is whole in time is none', async () => {
    const { socket, receiver } = open(LIMITS);
    const bytes = unfinished(200);
    await socket.arrive(bytes);
    clock.advance(29_999);
    await socket.arrive(Buffer.from('x'));
    clock.advance(300_000);
    expect([receiver.ids, receiver.faults]).toEqual([[3], []]);
    expect(clock.pending).toBe(0);
  });

  it('may take a second longer for each 64 KiB that came', async () => {
    const { socket, receiver } = open(LIMITS);
    const bytes = unfinished(2_000 * KIB);
    // 64 KiB in 1.2 s: 2000 KiB need 38 s
    for (let at = 0; at < bytes.length; at += 64 * KIB) {
      await socket.arrive(bytes.subarray(at, at + 64 * KIB));
      clock.advance(1_200);
    }
    expect(receiver.faults).toEqual([]);
    await socket.arrive(Buffer.from('x'));
    expect(receiver.ids).toEqual([3]);
  });

  it('is given up if it comes too slowly for its size', async () => {
    const { socket, receiver } = open(LIMITS);
    const bytes = unfinished(2_000 * KIB);
    let ms = 0;
    // 16 KiB a second: a quarter of what buys time
    for (let at = 0; at < bytes.length && receiver.faults.length === 0; at += 16 * KIB) {
      await socket.arrive(bytes.subarray(at, at + 16 * KIB));
      clock.advance(1_000);
      ms += 1_000;
    }
    expect(receiver.faults.map(({ message }) => message)).toEqual(['incomplete frame']);
    expect(ms).toBeGreaterThanOrEqual(40_000);
    expect(ms).toBeLessThanOrEqual(41_000);
  });

  it('has a time of its own after each whole one', async () => {
    const { socket, receiver } = open(LIMITS);
    const frame = bytesOf(3, 'abc');
    await socket.arrive(frame.subarray(0, 4));
    for (let i = 0; i < 20; i++) {
      clock.advance(20_000);
      await socket.arrive(Buffer.concat([frame.subarray(4), frame.subarray(0, 4)]));
    }
    expect([receiver.faults, receiver.frames.length]).toEqual([[], 20]);
    clock.advance(30_001);
    expect(receiver.faults).toHaveLength(1);
  });

  it('waits as long as this side reads nothing', async () => {
    const { socket, link, receiver } = open(LIMITS);
    await socket.arrive(unfinished(200));
    link.pause();
    clock.advance(100_000);
    expect(receiver.faults).toEqual([]);
    link.resume();
    clock.advance(29_000);
    await socket.arrive(Buffer.from('x'));
    expect(receiver.ids).toEqual([3]);
  });

  it('gets back the time for which this side read nothing', async () => {
    const { socket, link, receiver } = open(LIMITS);
    await socket.arrive(unfinished(200));
    clock.advance(1_000);
    link.pause();
    clock.advance(28_500);
    link.resume();
    clock.advance(1_000);
    expect(receiver.faults).toEqual([]);
    await socket.arrive(Buffer.from('x'));
    expect(receiver.ids).toEqual([3]);
  });

  it('needs one timer, and none on a connection whose frames come whole', async () => {
    const { socket, link } = open(LIMITS);
    for (let i = 0; i < 100; i++) await socket.arrive(bytesOf(3));
    expect(clock.pending).toBe(0);
    for (const byte of unfinished(100)) await socket.arrive(Buffer.from([byte]));
    expect(clock.pending).toBe(1);
    link.destroy();
    await turn();
    expect(clock.pending).toBe(0);
  });
});

describe('the budget of a server', () => {
  it('ends the connection whose unfinished frame is the oldest', async () => {
    const budget = new InputBudget(100 * KIB);
    const [first, second] = [open({}, budget), open({}, budget)];
    const half = bytesOf(3, 'x'.repeat(200 * KIB));
    await first.socket.arrive(half.subarray(0, 40 * KIB));
    await second.socket.arrive(half.subarray(0, 50 * KIB));
    expect(first.receiver.faults).toEqual([]);
    await second.socket.arrive(half.subarray(50 * KIB, 70 * KIB));
    expect(first.receiver.faults.map(({ message }) => message)).toEqual([
      'too many unfinished frames on this server',
    ]);
    expect(second.receiver.faults).toEqual([]);
  });

  it('is given back by whole frames, and by connections that go', async () => {
    const budget = new InputBudget(100 * KIB);
    const [first, second, third] = [open({}, budget), open({}, budget), open({}, budget)];
    const frame = bytesOf(3, 'x'.repeat(60 * KIB));
    await first.socket.arrive(frame.subarray(0, -1));
    await first.socket.arrive(frame.subarray(-1));
    await second.socket.arrive(frame.subarray(0, -1));
    second.link.destroy();
    await turn();
    await third.socket.arrive(frame.subarray(0, -1));
    for (const { receiver } of [first, second, third]) expect(receiver.faults).toEqual([]);
  });

  it('takes a frame that begins behind another in the same bytes for a new one', async () => {
    const budget = new InputBudget(100 * KIB);
    const [busy, slow, other] = [open({}, budget), open({}, budget), open({}, budget)];
    const frame = bytesOf(3, 'x'.repeat(45 * KIB));
    await busy.socket.arrive(frame.subarray(0, 10 * KIB));
    await slow.socket.arrive(frame.subarray(0, 40 * KIB));
    // the first frame of `busy` is done: now that of `slow` is the oldest
    await busy.socket.arrive(Buffer.concat([frame.subarray(10 * KIB), frame.subarray(0, 40 * KIB)]));
    await other.socket.arrive(frame.subarray(0, 40 * KIB));
    expect([busy, slow, other].map(({ receiver }) => receiver.faults.length)).toEqual([0, 1, 0]);
  });
});
