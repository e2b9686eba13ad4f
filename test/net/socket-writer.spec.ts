import { encodeFrame } from '../../lib/protocol/encoder.js';
import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';
import { SocketWriter } from '../../lib/net/socket-writer.js';
import type { FakeClock } from '../helpers/fake-clock.js';
import { type FakeSocket, turn } from '../helpers/fake-socket.js';
import { STALL_MS, TestedWriter } from './tested-writer.js';

const BATCH = 64 * 1024;

let tested: TestedWriter;
let socket: FakeSocket;
let clock: FakeClock;
let writer: SocketWriter;
let log: string[];

beforeEach(() => {
  tested = new TestedWriter();
  ({ socket, clock, writer, log } = tested);
});

afterEach(() => tested.stop());

const write = (body: unknown): number => tested.write(body);
const sent = (): boolean => tested.sent;

/** A generator of numbers that is the same in each run. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
}

it('sends nothing within the tick, and all frames of a tick in one write', async () => {
  for (let i = 0; i < 100; i++) write({ i });
  expect(socket.writes).toEqual([]);
  await turn();
  expect(socket.writes).toHaveLength(1);
  expect(sent()).toBe(true);
});

it('sends frames of two ticks in two writes', async () => {
  write('a');
  await turn();
  write('b');
  await turn();
  expect(socket.writes).toHaveLength(2);
  expect(sent()).toBe(true);
});

it('joins small frames into one piece of memory', async () => {
  for (let i = 0; i < 100; i++) write({ i });
  await turn();
  // at most if the slab ends there is a second one
  expect(socket.writes[0]?.length).toBeLessThanOrEqual(2);
});

it('sends a large byte array as it was when it was written, between its frame and the next ones', async () => {
  const large = Buffer.alloc(2 * BATCH, 7);
  write({ before: 1, large, after: 2 });
  large.fill(0);
  write('next');
  await turn();
  expect(sent()).toBe(true);
  expect(socket.written.includes(Buffer.alloc(2 * BATCH, 7))).toBe(true);
});

it('counts what waits, to the byte, wherever it waits', async () => {
  expect(writer.pendingBytes).toBe(0);
  socket.block();
  const sizes = [write('small'), write(Buffer.alloc(200_000)), write('x'.repeat(5_000))];
  const total = sizes.reduce((sum, size) => sum + size, 0);
  expect(writer.pendingBytes).toBe(total);
  await turn();
  expect(writer.pendingBytes).toBe(total);
  let taken = 0;
  while (writer.pendingBytes > 0) {
    taken += Buffer.concat(socket.writes.at(-1) ?? []).length;
    socket.takeOne();
    await turn();
    expect(writer.pendingBytes).toBe(total - taken);
  }
  expect(taken).toBe(total);
  expect(sent()).toBe(true);
});

it('gives a blocked socket one batch at a time', async () => {
  socket.block();
  write(Buffer.alloc(1_000_000));
  await turn();
  expect(socket.writes).toHaveLength(1);
  expect(socket.writableLength).toBeLessThanOrEqual(BATCH);
  write('later');
  await turn();
  expect(socket.writes).toHaveLength(1);
  socket.takeOne();
  await turn();
  expect(socket.writes).toHaveLength(2);
  expect(socket.writableLength).toBeLessThanOrEqual(BATCH);
  socket.unblock();
  await turn();
  expect(sent()).toBe(true);
  expect(writer.pendingBytes).toBe(0);
});

it('sends everything at once to a socket that takes it, however much', async () => {
  write(Buffer.alloc(3_000_000));
  write('after');
  await turn();
  expect(sent()).toBe(true);
  for (const pieces of socket.writes) {
    expect(pieces.reduce((sum, { length }) => sum + length, 0)).toBeLessThanOrEqual(BATCH);
  }
});

it.each(Array.from({ length: 20 }, (_, i) => i + 1))(
  'keeps the order of frames of random sizes over a socket that blocks at random (seed %i)',
  async (seed) => {
    const next = random(seed);
    for (let round = 0; round < 60; round++) {
      for (let i = next(5); i > 0; i--) {
        const size = [next(20), next(2_000), next(70_000), next(300_000)][next(4)] ?? 0;
        write(next(2) === 0 ? Buffer.alloc(size, round) : 'é'.repeat(size));
      }
      if (next(3) === 0) socket.block();
      if (next(3) === 0) socket.takeOne();
      if (next(4) === 0) socket.unblock();
      if (next(2) === 0) await turn();
      expect(writer.pendingBytes).toBeGreaterThanOrEqual(socket.writableLength);
    }
    writer.end();
    while (!socket.finished) {
      socket.unblock();
      await turn();
    }
    expect(sent()).toBe(true);
    expect(writer.pendingBytes).toBe(0);
  },
);

describe('drain', () => {
  it('is told when everything has been taken, once', async () => {
    socket.block();
    write(Buffer.alloc(150_000));
    await turn();
    socket.takeOne();
    await turn();
    socket.takeOne();
    await turn();
    expect(log).toEqual([]);
    socket.takeOne();
    await turn();
    expect(log).toEqual(['drain']);
    expect(writer.pendingBytes).toBe(0);
  });

  it('may be answered with more', async () => {
    let more = 3;
    const again = new SocketWriter(socket.asSocket, {
      clock,
      stallTimeoutMs: STALL_MS,
      onDrain: () => {
        if (more-- > 0) again.write(encodeFrame(101, 5, null, 'more', DEFAULT_FRAME_LIMITS));
      },
      onStall: () => {},
      onUnsealable: () => {},
    });
    again.write(encodeFrame(101, 3, null, 'first', DEFAULT_FRAME_LIMITS));
    for (let i = 0; i < 6; i++) await turn();
    expect(socket.writes).toHaveLength(4);
  });

  it('is not told after the end', async () => {
    socket.block();
    write('x');
    await turn();
    writer.end();
    socket.unblock();
    await turn();
    expect(log).toEqual([]);
  });
});

describe('end', () => {
  it('comes at once if nothing waits', async () => {
    writer.end();
    await turn();
    expect(socket.finished).toBe(true);
  });

  it('sends what was written in the same tick first', async () => {
    write('a');
    write(Buffer.alloc(200_000));
    writer.end();
    await turn();
    expect([sent(), socket.finished]).toEqual([true, true]);
  });

  it('waits for a blocked socket, and comes after everything', async () => {
    socket.block();
    write(Buffer.alloc(200_000));
    await turn();
    write('last words');
    writer.end();
    await turn();
    expect(socket.finished).toBe(false);
    for (let i = 0; i < 5; i++) {
      socket.takeOne();
      await turn();
    }
    expect([sent(), socket.finished]).toEqual([true, true]);
  });

  it('may be called twice', async () => {
    write('a');
    writer.end();
    writer.end();
    await turn();
    expect([sent(), socket.finished]).toEqual([true, true]);
  });
});

describe('a stall', () => {
  it('is told once, when a batch was not taken in time', async () => {
    socket.block();
    write('x');
    await turn();
    clock.advance(STALL_MS - 1);
    expect(log).toEqual([]);
    clock.advance(1);
    await turn();
    expect(log).toEqual(['stall']);
    clock.advance(10 * STALL_MS);
    await turn();
    expect(log).toEqual(['stall']);
  });

  it('is none while batches are taken, however slowly', async () => {
    socket.block();
    write(Buffer.alloc(1_000_000));
    await turn();
    for (let i = 0; i < 14; i++) {
      clock.advance(STALL_MS - 1);
      socket.takeOne();
      await turn();
    }
    expect(log).toEqual([]);
    expect(writer.pendingBytes).toBeGreaterThan(0);
    clock.advance(STALL_MS);
    await turn();
    expect(log).toEqual(['stall']);
  });

  it('is none on a socket that is never blocked, or not any more', async () => {
    write('x');
    await turn();
    expect(clock.pending).toBe(0);
    socket.block();
    write('y');
    await turn();
    expect(clock.pending).toBe(1);
    socket.unblock();
    await turn();
    expect(clock.pending).toBe(0);
  });

  it('counts for the last words, too', async () => {
    socket.block();
    write('x');
    writer.end();
    await turn();
    clock.advance(STALL_MS);
    await turn();
    expect(log).toEqual(['stall']);
  });

  it('is none if this process stood still, and the peer has read meanwhile', async () => {
    socket.block();
    write('x');
    await turn();
    clock.stall(STALL_MS);
    socket.unblock(); // what the loop finds when it looks at its sockets, after its timers
    await turn();
    expect([log, clock.pending]).toEqual([['drain'], 0]);
  });

  it('is none if the last look finds that the peer has read', async () => {
    socket.block();
    write('x');
    await turn();
    clock.advance(STALL_MS);
    socket.unblock();
    await turn();
    expect([log, clock.pending]).toEqual([['drain'], 0]);
  });

  it('is none if this process stood still, and the peer with it, but for the rest of its time', async () => {
    socket.block();
    write('x');
    await turn();
    clock.stall(5 * STALL_MS);
    await turn();
    clock.stall(5 * STALL_MS);
    await turn();
    expect(log).toEqual([]);
    clock.advance(STALL_MS / 2);
    await turn();
    expect(log).toEqual(['stall']);
  });

  it('is none any more when the socket is gone in that moment', async () => {
    socket.block();
    write('x');
    await turn();
    clock.advance(STALL_MS);
    writer.stop();
    await turn();
    expect(log).toEqual([]);
  });
});

describe('after the socket is gone', () => {
  it('writes nothing, and throws nothing', async () => {
    socket.block();
    socket.on('error', () => {});
    write(Buffer.alloc(200_000));
    await turn();
    socket.destroy(new Error('reset'));
    await turn();
    write('later');
    await turn();
    expect(socket.writes).toHaveLength(1);
    expect(log).toEqual([]);
  });

  it('waits for nothing once it was stopped', async () => {
    socket.block();
    write('x');
    await turn();
    writer.stop();
    expect(clock.pending).toBe(0);
    clock.advance(STALL_MS);
    expect(log).toEqual([]);
  });
});
