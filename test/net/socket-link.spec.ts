import { encodeFrame, encodeHeader } from '../../lib/protocol/encoder.js';
import { Fault } from '../../lib/protocol/fault.js';
import type { Frame } from '../../lib/protocol/frame.js';
import type { LinkReceiver } from '../../lib/protocol/link.js';
import { Outbox } from '../../lib/protocol/bytes/outbox.js';
import { InputBudget } from '../../lib/net/input-budget.js';
import { SocketLink, type SocketLinkLimits } from '../../lib/net/socket-link.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { FakeClock } from '../helpers/fake-clock.js';
import { FakeSocket, turn } from '../helpers/fake-socket.js';

const KIB = 1024;

class Receiver implements LinkReceiver {
  readonly frames: Frame[] = [];
  readonly sizes: number[] = [];
  readonly faults: Fault[] = [];
  /** What was told, in order. */
  readonly log: string[] = [];
  error: Error | undefined;
  /** What a frame does. */
  react: ((frame: Frame) => void) | undefined;

  onFrame(frame: Frame, bytes: number): void {
    this.frames.push(frame);
    this.sizes.push(bytes);
    this.log.push(`frame ${frame[1]}`);
    this.react?.(frame);
  }

  onBytes(): void {
    this.log.push('bytes');
  }

  onDrain(): void {
    this.log.push('drain');
  }

  onFault(fault: Fault): void {
    this.faults.push(fault);
    this.log.push(`fault ${fault.message}`);
  }

  onClose(error: Error | undefined): void {
    this.error = error;
    this.log.push('close');
  }

  get ids(): number[] {
    return this.frames.map(([, id]) => id);
  }
}

interface End {
  readonly socket: FakeSocket;
  readonly link: SocketLink;
  readonly receiver: Receiver;
}

let clock: FakeClock;
let ends: End[];

beforeEach(() => {
  clock = new FakeClock();
  clock.advance(1000);
  ends = [];
});

afterEach(async () => {
  for (const { link } of ends) link.destroy();
  await turn();
  expect(clock.pending).toBe(0);
});

function open(limits: Partial<SocketLinkLimits> = {}, budget?: InputBudget): End {
  const socket = new FakeSocket();
  const link = new SocketLink(socket.asSocket, { limits: { ...DEFAULT_LIMITS, ...limits }, clock, budget });
  const receiver = new Receiver();
  link.start(receiver);
  link.admit();
  const end = { socket, link, receiver };
  ends.push(end);
  return end;
}

function bytesOf(id: number, body: unknown = null, header: Record<string, unknown> = {}): Buffer {
  const outbox = new Outbox();
  outbox.append(encodeFrame(101, id, header, body, DEFAULT_LIMITS));
  return Buffer.concat(outbox.take());
}

const many = (from: number, count: number): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => bytesOf(from + i)));

const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);

describe('frames', () => {
  it('come in order, each with its size, however the bytes are cut', async () => {
    const frames = [bytesOf(3, 'a'), bytesOf(5, { b: Buffer.alloc(300) }), bytesOf(7, 'é'.repeat(100))];
    const bytes = Buffer.concat(frames);
    for (const size of [1, 2, 7, 100, bytes.length]) {
      const { socket, receiver } = open();
      for (let at = 0; at < bytes.length; at += size) await socket.arrive(bytes.subarray(at, at + size));
      expect(receiver.ids).toEqual([3, 5, 7]);
      expect(receiver.sizes).toEqual(frames.map(({ length }) => length));
    }
  });

  it('tell first that bytes have come, once a chunk', async () => {
    const { socket, receiver } = open();
    const bytes = bytesOf(3, 'abc');
    await socket.arrive(bytes.subarray(0, 2));
    await socket.arrive(bytes.subarray(2));
    expect(receiver.log).toEqual(['bytes', 'bytes', 'frame 3']);
  });

  it('may be large only after admit', async () => {
    const socket = new FakeSocket();
    const receiver = new Receiver();
    const limits = { ...DEFAULT_LIMITS, maxFrameBytesBeforeDeclare: KIB };
    const link = new SocketLink(socket.asSocket, { limits, clock });
    ends.push({ socket, link, receiver });
    link.start(receiver);
    receiver.react = () => link.admit();
    await socket.arrive(bytesOf(3, 'x'.repeat(900)));
    await socket.arrive(bytesOf(5, 'x'.repeat(2 * KIB)));
    expect(receiver.ids).toEqual([3, 5]);
    const other = open({ maxFrameBytes: KIB });
    await other.socket.arrive(bytesOf(5, 'x'.repeat(2 * KIB)));
    expect(other.receiver.log).toEqual(['bytes', 'fault frame too large']);
  });

  it('that are none are a fault, after the good ones before them and without any after', async () => {
    const { socket, receiver } = open();
    await socket.arrive(Buffer.concat([many(3, 3), Buffer.from([0xc1]), many(9, 3)]));
    expect(receiver.log).toEqual([
      'bytes',
      'frame 3',
      'frame 4',
      'frame 5',
      expect.stringMatching(/^fault /),
    ]);
    expect(receiver.faults[0]?.status).toBe(1003);
  });
});

/** A frame that holds the process up for so long. */
const holdsUp = (ms: number) => (): void => clock.advance(ms);

describe('turns', () => {
  it('end after 5 ms, and go on after the others had theirs', async () => {
    const { socket, receiver } = open();
    receiver.react = holdsUp(2);
    const counts: number[] = [];
    const others = (): void => {
      counts.push(receiver.frames.length);
      if (counts.length < 40) setImmediate(others);
    };
    socket.push(many(3, 40));
    await new Promise((resolve) => void socket.once('data', resolve));
    setImmediate(others);
    while (receiver.frames.length < 40) await turn();
    const steps = counts.map((count, i) => count - (counts[i - 1] ?? 0));
    expect(counts.filter((count) => count < 40).length).toBeGreaterThan(5);
    expect(Math.max(...steps)).toBeLessThanOrEqual(8);
    expect(receiver.ids).toEqual(range(3, 40));
  });

  it('end with one frame that took 5 ms', async () => {
    const { socket, receiver } = open();
    await socket.arrive(many(3, 100)); // it is known for quick frames by now
    receiver.react = holdsUp(300);
    let seen = receiver.frames.length;
    socket.push(many(103, 6));
    while (receiver.frames.length < 106) {
      await turn();
      expect(receiver.frames.length - seen).toBeLessThanOrEqual(2); // one turn of its own, and one of the others'
      seen = receiver.frames.length;
    }
  });

  it('know what a frame cost when its work comes behind an await', async () => {
    const { socket, receiver } = open();
    let begun = 0;
    receiver.react = () => {
      begun += 1;
      void (async () => {
        await Promise.resolve();
        await Promise.resolve();
        clock.advance(300);
      })();
    };
    socket.push(many(3, 20));
    let before = 0;
    for (let i = 0; i < 25; i++) {
      await turn();
      expect(begun - before).toBeLessThanOrEqual(2);
      before = begun;
    }
    expect(begun).toBe(20);
  });

  it('do not keep a connection with quick frames waiting for more than a frame of one with slow ones', async () => {
    const [slow, quick] = [open(), open()];
    slow.receiver.react = holdsUp(300);
    slow.socket.push(many(3, 20));
    await turn();
    quick.socket.push(many(3, 500));
    const before = slow.receiver.frames.length;
    while (quick.receiver.frames.length < 500) await turn();
    expect(slow.receiver.frames.length - before).toBeLessThanOrEqual(2);
    slow.link.destroy();
  });

  it('are longer for those who waited while the process was held up, in proportion', async () => {
    const [slow, quick] = [open(), open()];
    slow.receiver.react = holdsUp(400);
    quick.receiver.react = holdsUp(1);
    slow.socket.push(many(3, 20));
    quick.socket.push(many(3, 200));
    while (quick.receiver.frames.length < 200) await turn();
    expect(slow.receiver.frames.length).toBeLessThanOrEqual(6);
    slow.link.destroy();
  });

  it('of quick frames need no look at the sockets in between', async () => {
    const { socket, receiver } = open({ framesPerTick: 10 });
    socket.push(many(3, 1000));
    await new Promise((resolve) => void socket.once('data', resolve));
    await turn();
    await turn();
    expect(receiver.ids).toEqual(range(3, 1000));
  });

  it('are shared by two connections, whichever sends more', async () => {
    const order: string[] = [];
    const flood = open({ framesPerTick: 4 });
    const small = open({ framesPerTick: 4 });
    flood.receiver.react = () => order.push('flood');
    small.receiver.react = () => order.push('small');
    flood.socket.push(many(3, 40));
    small.socket.push(many(3, 2));
    for (let i = 0; i < 12; i++) await turn();
    expect(order.filter((it) => it === 'flood')).toHaveLength(40);
    expect(order.lastIndexOf('small')).toBeLessThan(10);
  });

  it('let timers and other work run in between', async () => {
    const { socket, receiver } = open({ framesPerTick: 1 });
    receiver.react = holdsUp(5);
    let turns = 0;
    const count = (): void => {
      turns += 1;
      if (receiver.frames.length < 50) setImmediate(count);
    };
    setImmediate(count);
    socket.push(many(3, 50));
    while (receiver.frames.length < 50) await turn();
    expect(turns).toBeGreaterThanOrEqual(24);
  });

  it('keep the order when chunks come in between', async () => {
    const { socket, receiver } = open({ framesPerTick: 3 });
    const bytes = many(3, 100);
    for (let at = 0; at < bytes.length; at += 37) {
      socket.push(bytes.subarray(at, at + 37));
      if (at % 2 === 0) await turn();
    }
    while (receiver.frames.length < 100) await turn();
    expect(receiver.ids).toEqual(range(3, 100));
  });

  it('end with the connection', async () => {
    const { socket, link, receiver } = open({ framesPerTick: 5 });
    socket.push(many(3, 50));
    await new Promise((resolve) => void socket.once('data', resolve));
    link.destroy();
    for (let i = 0; i < 5; i++) await turn();
    expect(receiver.frames).toHaveLength(2);
    expect(receiver.log.at(-1)).toBe('close');
  });
});

describe('pause', () => {
  it('stops the frames at once, also those of the same chunk, and resume hands them on', async () => {
    const { socket, link, receiver } = open();
    receiver.react = ([, id]) => {
      if (id === 5) link.pause();
    };
    await socket.arrive(many(3, 10));
    expect(receiver.ids).toEqual([3, 4, 5]);
    await turn();
    expect(receiver.ids).toEqual([3, 4, 5]);
    link.resume();
    await turn();
    expect(receiver.ids).toEqual(range(3, 10));
  });

  it('counts as a sign of life when it ends: whoever was not read could not be heard', async () => {
    const { link, receiver } = open();
    link.pause();
    link.pause();
    link.resume();
    expect(receiver.log).not.toContain('bytes');
    link.resume();
    expect(receiver.log).toContain('bytes');
  });

  it('stops the reading after one more chunk', async () => {
    const { socket, link, receiver } = open();
    link.pause();
    await socket.arrive(many(3, 2));
    expect([receiver.frames.length, socket.isPaused()]).toEqual([0, true]);
    await socket.arrive(many(5, 2));
    await socket.arrive(many(7, 2));
    expect(receiver.log.filter((it) => it === 'bytes')).toHaveLength(1);
    link.resume();
    await turn();
    await turn();
    expect(receiver.ids).toEqual(range(3, 6));
    expect(socket.isPaused()).toBe(false);
  });

  it('needs as many resumes as there were pauses', async () => {
    const { socket, link, receiver } = open();
    link.pause();
    link.pause();
    await socket.arrive(many(3, 1));
    link.resume();
    await turn();
    expect(receiver.frames).toHaveLength(0);
    link.resume();
    expect(receiver.frames).toHaveLength(1);
  });

  it('may come and go between two turns', async () => {
    const { socket, link, receiver } = open({ framesPerTick: 2 });
    socket.push(many(3, 20));
    for (let i = 0; i < 30; i++) {
      link.pause();
      if (i % 3 === 0) await turn();
      link.resume();
      if (i % 2 === 0) await turn();
    }
    while (receiver.frames.length < 20) await turn();
    expect(receiver.ids).toEqual(range(3, 20));
  });

  it('may come and go within a frame', async () => {
    const { socket, link, receiver } = open();
    receiver.react = () => {
      link.pause();
      link.resume();
    };
    await socket.arrive(many(3, 20));
    await turn();
    expect(receiver.ids).toEqual(range(3, 20));
  });

  it('keeps frames that resume hands on in their place, when resume comes from a frame', async () => {
    const { socket, link, receiver } = open();
    const paused: number[] = [];
    receiver.react = ([, id]) => {
      if (id % 4 === 0 && !paused.includes(id)) {
        paused.push(id);
        link.pause();
        setImmediate(() => link.resume());
      }
    };
    await socket.arrive(many(3, 20));
    while (receiver.frames.length < 20) await turn();
    expect(receiver.ids).toEqual(range(3, 20));
  });
});

/** A frame with a body of so many bytes, without its last one. */
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

  it('is given up where it comes too slowly for its size', async () => {
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

describe('send', () => {
  it('says how large the frame is, and counts it until it is taken', async () => {
    const { socket, link } = open();
    socket.block();
    const size = link.send(101, 3, { target: '/default/x' }, { a: 1 });
    expect(link.pendingBytes).toBe(size);
    await turn();
    expect(link.pendingBytes).toBe(size);
    socket.unblock();
    await turn();
    expect(link.pendingBytes).toBe(0);
    expect(socket.written.length).toBe(size);
  });

  it('takes a header that was encoded ahead, and none', async () => {
    const { socket, link } = open();
    link.send(101, 3, encodeHeader({ a: 1 }), null);
    link.send(101, 5, null, null);
    await turn();
    expect(socket.written.toString('hex')).toBe('94650381a16101c094650580c0');
  });

  it('throws where a frame cannot be encoded, and is unharmed', async () => {
    const { socket, link } = open({ maxFrameBytes: 10 * KIB });
    expect(() => link.send(101, 3, null, 2n ** 70n)).toThrow(Fault);
    expect(() => link.send(101, 3, null, 'x'.repeat(11 * KIB))).toThrow(Fault);
    expect(link.pendingBytes).toBe(0);
    link.send(101, 5, null, 1);
    await turn();
    expect(socket.written.toString('hex')).toBe('9465058001');
  });

  it('takes and drops frames after the end', async () => {
    const { socket, link } = open();
    link.end();
    expect(link.send(101, 3, null, 1)).toBe(5);
    await turn();
    link.destroy();
    expect(link.send(101, 3, null, 1)).toBe(5);
    await turn();
    expect(socket.writes).toEqual([]);
  });
});

describe('end', () => {
  it('writes what was sent, in order, and then the end', async () => {
    const { socket, link } = open();
    link.send(101, 3, null, 1);
    link.send(101, 5, null, Buffer.alloc(200 * KIB));
    link.end();
    await turn();
    expect(socket.finished).toBe(true);
    expect(socket.written.subarray(0, 5).toString('hex')).toBe('9465038001');
    expect(socket.written.length).toBeGreaterThan(200 * KIB);
  });

  it('hands on no frame any more, and reads on so that the peer is not reset', async () => {
    const { socket, link, receiver } = open();
    link.pause();
    await socket.arrive(many(3, 3));
    link.end();
    link.resume();
    await socket.arrive(many(9, 3));
    expect(receiver.frames).toEqual([]);
    expect(socket.isPaused()).toBe(false);
    expect(socket.readableLength).toBe(0);
  });

  it('gives a peer that does not close 100 ms', async () => {
    const { socket, link, receiver } = open();
    link.end();
    await turn();
    clock.advance(99);
    expect(socket.destroyed).toBe(false);
    clock.advance(1);
    await turn();
    expect(socket.destroyed).toBe(true);
    expect(receiver.log).toEqual(['close']);
  });

  it('gives unsent bytes the time of a stall', async () => {
    const { socket, link } = open({ writeStallTimeoutMs: 10_000 });
    socket.block();
    link.send(101, 3, null, Buffer.alloc(100 * KIB));
    link.end();
    await turn();
    clock.advance(9_000);
    expect(socket.destroyed).toBe(false);
    clock.advance(1_100);
    await turn();
    expect(socket.destroyed).toBe(true);
  });

  it('gives a peer that does not close 100 ms, too, where the last bytes are taken only now', async () => {
    const { socket, link } = open({ writeStallTimeoutMs: 10_000 });
    socket.block();
    link.send(101, 3, null, 1);
    await turn();
    link.end();
    socket.unblock();
    await turn();
    clock.advance(100);
    await turn();
    expect(socket.destroyed).toBe(true);
  });

  it('may be called twice, and before destroy', async () => {
    const { socket, link, receiver } = open();
    link.end();
    link.end();
    link.destroy();
    link.destroy();
    await turn();
    expect(socket.destroyed).toBe(true);
    expect(receiver.log).toEqual(['close']);
    expect(clock.pending).toBe(0);
  });
});

describe('the end', () => {
  it('of a stalled connection: destroyed, and the reason told', async () => {
    const { socket, link, receiver } = open({ writeStallTimeoutMs: 10_000 });
    socket.block();
    link.send(101, 3, null, 1);
    await turn();
    clock.advance(10_000);
    await turn();
    expect(receiver.log).toEqual(['close']);
    expect(receiver.error?.message).toContain('writeStallTimeoutMs');
  });

  it('by an error of the socket is told with it, once, and nothing after', async () => {
    const { socket, receiver } = open();
    socket.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
    await turn();
    expect(receiver.error).toMatchObject({ code: 'ECONNRESET' });
    expect(receiver.log).toEqual(['close']);
  });

  it('of the peer comes after the frames that it had sent', async () => {
    const { socket, receiver } = open();
    receiver.react = () => clock.advance(5);
    socket.once('end', () => socket.destroy()); // as a socket of Node that allows no half-open connection
    socket.push(many(3, 250));
    socket.push(null);
    while (receiver.log.at(-1) !== 'close') await turn();
    expect(receiver.ids).toEqual(range(3, 250));
  });

  it('of the peer comes after the frames that it had sent to a slow reader, too', async () => {
    const { socket, link, receiver } = open();
    receiver.react = ([, id]) => {
      if (id === 5) link.pause();
    };
    socket.push(many(3, 20));
    await turn();
    socket.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
    while (receiver.log.at(-1) !== 'close') await turn();
    expect(receiver.ids).toEqual(range(3, 20));
    expect(receiver.error).toMatchObject({ code: 'ECONNRESET' });
  });

  it('of the peer comes at once where this side ends the connection over one of these frames', async () => {
    const { socket, link, receiver } = open();
    receiver.react = ([, id]) => {
      clock.advance(5);
      if (id === 12) link.end();
    };
    socket.push(many(3, 20));
    socket.push(null);
    while (receiver.log.at(-1) !== 'close') await turn();
    expect(receiver.ids).toEqual(range(3, 10));
  });

  it('drops what waited to be sent', async () => {
    const { socket, link } = open();
    link.send(101, 3, null, 1);
    link.destroy();
    await turn();
    expect(socket.writes).toEqual([]);
  });
});
