import { encodeHeader } from '../../lib/protocol/encoder.js';
import { Fault } from '../../lib/protocol/fault.js';
import { SocketLink } from '../../lib/net/socket-link.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { FakeSocket, turn } from '../helpers/fake-socket.js';
import { KIB, Receiver, bytesOf, clock, ends, many, open, range } from './fake-link.js';

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

  it('counts as a sign of life when it ends: a peer that was not read could not be heard', async () => {
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

  it('throws if a frame cannot be encoded, and is unharmed', async () => {
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
