import { KeepAlive, type KeepAliveTarget } from '../../lib/rpc/keep-alive.js';
import type { KeepAliveOptions } from '../../lib/rpc/limits.js';
import { FakeClock } from '../helpers/fake-clock.js';

const OPTIONS: KeepAliveOptions = { intervalMs: 30_000, timeoutMs: 10_000, maxMissed: 2, idleTimeoutMs: 0 };

let clock: FakeClock;
let log: string[];
let busy: boolean;
let deaf: boolean;

function watch(options: Partial<KeepAliveOptions> = {}): KeepAlive {
  const at = (what: string): void => void log.push(`${what} ${clock.now() / 1000}`);
  const target: KeepAliveTarget = {
    ping: () => at('ping'),
    lost: () => at('lost'),
    idle: () => at('idle'),
    isBusy: () => busy,
    isDeaf: () => deaf,
  };
  return new KeepAlive(target, { ...OPTIONS, ...options }, clock);
}

beforeEach(() => {
  clock = new FakeClock();
  log = [];
  busy = false;
  deaf = false;
});

it('pings after an interval of silence, and gives up after so many pings without a word', () => {
  watch().start();
  clock.advance(200_000);
  // the interval after the start counts as heard
  expect(log).toEqual(['ping 60', 'ping 70', 'lost 80']);
  expect(clock.pending).toBe(0);
});

it('does not take a process that stood still for a silent peer', () => {
  const keepAlive = watch();
  keepAlive.start();
  clock.advance(75_000);
  expect(log).toEqual(['ping 60', 'ping 70']);
  clock.stall(60_000); // the last look falls into it; the answer has come, and nobody read it
  expect(log).toHaveLength(2);
  keepAlive.heard();
  clock.advance(29_000);
  expect(log).toHaveLength(2);
  keepAlive.stop();
});

it('gives up after a standstill, too, where nothing has come', () => {
  watch().start();
  clock.advance(75_000);
  clock.stall(60_000);
  clock.advance(10_000);
  expect(log).toEqual(['ping 60', 'ping 70', 'lost 145']);
});

it('does not ping while bytes come', () => {
  const keepAlive = watch();
  keepAlive.start();
  for (let second = 0; second < 300; second += 29) {
    clock.advance(29_000);
    keepAlive.heard();
  }
  expect(log).toEqual([]);
  keepAlive.stop();
});

it('takes any bytes as the answer, and counts from 0 again', () => {
  const keepAlive = watch();
  keepAlive.start();
  clock.advance(75_000);
  expect(log).toEqual(['ping 60', 'ping 70']);
  keepAlive.heard();
  clock.advance(5_000);
  expect(log).toHaveLength(2);
  clock.advance(30_000);
  expect(log.slice(2)).toEqual(['ping 110']);
  clock.advance(20_000);
  expect(log.slice(2)).toEqual(['ping 110', 'ping 120', 'lost 130']);
});

it('neither pings nor gives up while this side reads nothing, and starts over after that', () => {
  const keepAlive = watch();
  keepAlive.start();
  deaf = true;
  clock.advance(600_000);
  expect(log).toEqual([]);
  deaf = false;
  clock.advance(60_000);
  expect(log).toEqual(['ping 630', 'ping 640', 'lost 650']);
});

it('gives up after one ping where that is all that may be missed', () => {
  watch({ maxMissed: 1, intervalMs: 15_000, timeoutMs: 5_000 }).start();
  clock.advance(60_000);
  expect(log).toEqual(['ping 30', 'lost 35']);
});

it('gives up without a ping where none may be missed', () => {
  watch({ maxMissed: 0 }).start();
  clock.advance(60_000);
  expect(log).toEqual(['lost 60']);
});

it('looks first when it is told to', () => {
  watch().start(27_000);
  clock.advance(27_000 + 30_000);
  expect(log).toEqual(['ping 57']);
});

it('does nothing with an interval of 0', () => {
  watch({ intervalMs: 0, idleTimeoutMs: 1000 }).start();
  expect(clock.pending).toBe(0);
});

it('stops, and may be stopped again', () => {
  const keepAlive = watch();
  keepAlive.start();
  keepAlive.stop();
  keepAlive.stop();
  expect(clock.pending).toBe(0);
  clock.advance(500_000);
  expect(log).toEqual([]);
});

it('ends a connection without calls after the idle time, though its peer answers pings', () => {
  const keepAlive = watch({ idleTimeoutMs: 1_200_000 });
  keepAlive.start();
  for (let ms = 0; ms < 1_300_000; ms += 1000) {
    keepAlive.heard();
    clock.advance(1000);
  }
  expect(log).toEqual(['idle 1200']);
  expect(clock.pending).toBe(0);
});

it('counts the idle time from the last call', () => {
  const keepAlive = watch({ idleTimeoutMs: 100_000 });
  keepAlive.start();
  busy = true;
  for (let i = 0; i < 10; i++) {
    keepAlive.heard();
    clock.advance(30_000);
  }
  busy = false;
  for (let i = 0; i < 10; i++) {
    keepAlive.heard();
    clock.advance(30_000);
  }
  // the last look that saw a call was at 300 s; the first one 100 s later is at 420 s
  expect(log).toEqual(['idle 420']);
});

it('has one timer, whatever comes in', () => {
  const keepAlive = watch();
  keepAlive.start();
  for (let i = 0; i < 1000; i++) keepAlive.heard();
  expect(clock.pending).toBe(1);
  keepAlive.stop();
});
