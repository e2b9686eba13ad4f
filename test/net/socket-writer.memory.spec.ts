import { SocketWriter } from '../../lib/net/socket-writer.js';
import { encodeFrame } from '../../lib/protocol/encoder.js';
import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';
import { FakeSocket, turn } from '../helpers/fake-socket.js';
import { buffersUsed } from '../helpers/memory.js';
import { STALL_MS, TestedWriter } from './tested-writer.js';

const BATCH = 64 * 1024;

let tested: TestedWriter;
let socket: FakeSocket;

beforeEach(() => {
  tested = new TestedWriter();
  ({ socket } = tested);
});

afterEach(() => tested.stop());

const write = (body: unknown): number => tested.write(body);
const sent = (): boolean => tested.sent;

/** Memory that the next frame would be written into. */
const slabOf = (): unknown => encodeFrame(101, 3, null, null, DEFAULT_FRAME_LIMITS).slab;

/** Writes 10 kB a tick. */
async function send(ticks: number): Promise<void> {
  for (let i = 0; i < ticks; i++) {
    for (let n = 0; n < 10; n++) write('x'.repeat(1000));
    await turn();
  }
}

describe('memory that frames are written into', () => {
  it('is written again once it was sent, however much goes through it', async () => {
    await send(20); // past the memory in which frames of earlier tests were never sent
    const before = slabOf();
    await send(200);
    expect(slabOf() === before).toBe(true);
    expect(sent()).toBe(true);
  });

  it('is not written again while a socket has not taken it', async () => {
    socket.block();
    write('first '.repeat(100));
    await turn();
    const other = new FakeSocket();
    const others = new SocketWriter(other.asSocket, {
      clock: tested.clock,
      stallTimeoutMs: STALL_MS,
      onDrain: () => {},
      onStall: () => {},
      onUnsealable: () => {},
    });
    for (let i = 0; i < 100; i++) {
      others.write(encodeFrame(101, 5, null, 'y'.repeat(1000), DEFAULT_FRAME_LIMITS));
      await turn();
    }
    socket.unblock();
    await turn();
    expect(sent()).toBe(true);
    other.destroy();
  });
});

/** Others get so much that the next frame is written into memory that no earlier one lies in. */
function fillSlab(): void {
  const before = slabOf();
  while (slabOf() === before) encodeFrame(101, 5, null, 'y'.repeat(20_000), DEFAULT_FRAME_LIMITS);
}

/** The memory that pieces keep from being freed. */
function pinned(pieces: readonly Buffer[]): number {
  const buffers = new Set(pieces.map(({ buffer }) => buffer));
  return [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

describe('memory of a reader that stops', () => {
  beforeEach(() => fillSlab());

  it('is about the bytes that wait for it, however much goes out to others between', async () => {
    socket.block();
    write('first');
    await turn();
    let waiting = 0;
    for (let i = 0; i < 200; i++) {
      waiting += write(i);
      fillSlab();
    }
    socket.takeOne();
    await turn();
    const pieces = socket.writes.at(-1) ?? [];
    expect(Buffer.concat(pieces)).toHaveLength(waiting);
    expect(pinned(pieces)).toBeLessThanOrEqual(8 * 1024);
    socket.unblock();
    await turn();
    expect(sent()).toBe(true);
  });

  it('is at most twice the bytes that wait for it, if they are more', async () => {
    socket.block();
    write('first');
    await turn();
    for (const size of [3000, 10, 30_000, 100, 40_000, 70_000, 5, 20_000]) {
      write('z'.repeat(size));
      fillSlab();
    }
    const waiting = tested.writer.pendingBytes;
    const pieces: Buffer[] = [];
    while (socket.writableLength > 0) {
      socket.takeOne();
      await turn();
      if (socket.writableLength > 0) pieces.push(...(socket.writes.at(-1) ?? []));
    }
    expect(Buffer.concat(pieces).length).toBeGreaterThan(waiting - 100);
    expect(pinned(pieces)).toBeLessThanOrEqual(2 * waiting);
    expect(sent()).toBe(true);
  });

  it('is that of one write and the bytes behind it, if all of them were written in one tick', async () => {
    socket.block();
    for (let i = 0; i < 200; i++) {
      write(i);
      fillSlab();
    }
    write('x'.repeat(2 * BATCH));
    for (let i = 0; i < 200; i++) {
      write(i);
      fillSlab();
    }
    await turn();
    const pieces = [...(socket.writes[0] ?? [])];
    while (socket.writableLength > 0) {
      socket.takeOne();
      await turn();
      if (socket.writableLength > 0) pieces.push(...(socket.writes.at(-1) ?? []));
    }
    expect(pinned(pieces)).toBeLessThanOrEqual(10 * BATCH);
    expect(sent()).toBe(true);
  });

  it('goes as it reads, also if there is always more', async () => {
    socket.block();
    const large = 'x'.repeat(200_000);
    write(large);
    await turn();
    const before = await buffersUsed();
    for (let i = 0; i < 100; i++) {
      write(large);
      tested.forget();
      for (let n = 0; n < 4; n++) {
        socket.takeOne();
        await turn();
      }
    }
    expect(tested.writer.pendingBytes).toBeGreaterThan(0);
    expect((await buffersUsed()) - before).toBeLessThan(5 * 1024 * 1024);
  });
});
