import { readFileSync } from 'node:fs';
import type { TestApp } from '../helpers/app.js';
import type { RawSocket } from '../helpers/raw-socket.js';
import type { StoppedTime } from '../helpers/stopped-time.js';
import {
  call,
  expectAnswers,
  openRaw,
  release,
  seen,
  startApp,
  stopTime,
  until,
} from '../helpers/fault-scope.js';

const MIB = 1024 * 1024;

/** What Linux lets the send buffer of a socket grow to: it tells of room again when a third of that is free. */
const SEND_BUFFER_BYTES = sendBufferBytes();

/** Bytes a millisecond at which a reader is kept: docs/limits.md says 50 KB/s for a buffer of 4 MiB; a little more, for the test's own steps. */
const RATE = 60 * (SEND_BUFFER_BYTES / (4 * MIB));

let app: TestApp;
let time: StoppedTime;
/** Why connections of the server ended. */
let ends: string[];

beforeEach(async () => {
  ends = [];
  time = stopTime();
  // the server's own pings are another matter
  app = await startApp({ keepAlive: { intervalMs: 0 } });
  app.server.on('disconnect', (_connection, reason) => ends.push(reason.message));
});

/** Takes what comes at a rate: time passes with the bytes, and only with them. */
async function throttled(bytesPerMs: number): Promise<RawSocket> {
  const raw = await openRaw(app);
  raw.socket.on('data', (chunk: Buffer) => {
    raw.socket.pause();
    time.pass(chunk.length / bytesPerMs);
    setTimeout(() => raw.socket.resume(), 1); // a busy kernel needs a moment to tell the server of the room
  });
  return raw;
}

it('keeps one that reads all the time, while there is more for it than its kernel takes', async () => {
  const raw = await throttled(RATE);
  for (let i = 0; i < 40; i++) raw.send(call(5 + 2 * i, 'produce', MIB));
  await until(() => raw.frames.length === 40 || ends.length > 0, 'all answers');
  expect(ends).toEqual([]);
  await expectAnswers(raw);
});

it('keeps it also if answers of 40 MiB end in one moment', async () => {
  const raw = await throttled(RATE);
  const body = Buffer.alloc(MIB, 1);
  for (let i = 0; i < 40; i++) raw.send(call(5 + 2 * i, 'hold', body));
  await until(() => seen.started === 40, 'the calls to run');
  release();
  await until(() => raw.frames.length === 40 || ends.length > 0, 'all answers');
  expect(ends).toEqual([]);
  await expectAnswers(raw);
});

it.each([
  ['a little', 'produce', 4],
  ['beyond the hard limit', 'hold', 40],
])('leaves one that reads nothing, if %s waits for it', async (_name, target, count) => {
  const raw = await openRaw(app);
  const body = Buffer.alloc(MIB, 1);
  for (let i = 0; i < count; i++) raw.send(call(5 + 2 * i, target, target === 'hold' ? body : 4 * MIB - 100));
  await until(() => seen.started === count || seen.produced > 0, 'the calls to run');
  raw.socket.pause();
  release();
  // each look at the sockets comes before the next passage of time
  for (let seconds = 0; seconds < 29; seconds++) {
    time.pass(1000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(ends).toEqual([]);
  time.pass(2000);
  await until(() => ends.length === 1, 'the connection to be destroyed');
  expect(ends).toEqual([expect.stringContaining('limits.writeStallTimeoutMs')]);
});

function sendBufferBytes(): number {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/tcp_wmem', 'utf8').trim().split(/\s+/)[2]);
  } catch {
    return 4 * MIB; // not on Linux
  }
}
