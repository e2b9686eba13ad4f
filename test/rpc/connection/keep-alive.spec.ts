import { KeepAlive, type KeepAliveTarget } from '../../../lib/rpc/connection/keep-alive.js';
import type { KeepAliveOptions } from '../../../lib/rpc/limits.js';
import { FakeClock } from '../../helpers/fake-clock.js';

const OPTIONS: KeepAliveOptions = {
  intervalMs: 30_000,
  timeoutMs: 10_000,
  maxMissed: 2,
  idleTimeoutMs: 0,
  busyIntervalMs: 0,
  busyTimeoutMs: 0,
};

let clock: FakeClock;
let log: string[];
let busy: boolean;
let isPaused: boolean;
let waiting: boolean;

function watch(options: Partial<KeepAliveOptions> = {}): KeepAlive {
  const at = (what: string): void => void log.push(`${what} ${clock.now() / 1000}`);
  const target: KeepAliveTarget = {
    ping: () => at('ping'),
    lost: () => at('lost'),
    idle: () => at('idle'),
    isBusy: () => busy,
    isReadingPaused: () => isPaused,
    hasCallsInFlight: () => waiting,
    hasChannels: () => false,
    makesCalls: true,
  };
  return new KeepAlive(target, { ...OPTIONS, ...options }, clock);
}

beforeEach(() => {
  clock = new FakeClock();
  log = [];
  busy = false;
  isPaused = false;
  waiting = false;
});

it('pings after an interval of silence, and gives up after so many pings without a word', () => {
  watch().start();
  clock.advance(200_000);
  expect(log).toEqual(['ping 30', 'ping 40', 'lost 50']);
  expect(clock.pending).toBe(0);
});

it('does not take a process that stood still for a silent peer, but asks it', () => {
  const keepAlive = watch();
  keepAlive.start();
  clock.advance(45_000);
  expect(log).toEqual(['ping 30', 'ping 40']);
  clock.stall(60_000); // the last look falls into it; the answer has come, and nobody read it
  expect(log.slice(2)).toEqual(['ping 105']);
  keepAlive.heard();
  clock.advance(29_000);
  expect(log).toHaveLength(3);
  keepAlive.stop();
});

it('gives up after a standstill, too, if nothing has come', () => {
  watch().start();
  clock.advance(45_000);
  clock.stall(60_000);
  clock.advance(10_000);
  expect(log).toEqual(['ping 30', 'ping 40', 'ping 105', 'lost 115']);
});

it('asks at once after a standstill, whatever was heard before', () => {
  watch({ maxMissed: 1, intervalMs: 15_000, timeoutMs: 5_000 }).start();
  clock.stall(8_000);
  clock.advance(5_000);
  expect(log).toEqual(['ping 8', 'lost 13']);
});

it('asks no earlier for calls in flight if that is switched off', () => {
  watch({ maxMissed: 1, intervalMs: 15_000, timeoutMs: 5_000 }).start();
  clock.advance(6_000);
  waiting = true;
  clock.advance(20_000);
  expect(log).toEqual(['ping 15', 'lost 20']);
});

it('counts silence from the last bytes, not from the last look', () => {
  const keepAlive = watch();
  keepAlive.start();
  clock.advance(29_000);
  keepAlive.heard();
  clock.advance(29_999);
  expect(log).toEqual([]);
  clock.advance(1);
  expect(log).toEqual(['ping 59']);
  keepAlive.stop();
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
  clock.advance(45_000);
  expect(log).toEqual(['ping 30', 'ping 40']);
  keepAlive.heard();
  clock.advance(29_000);
  expect(log).toHaveLength(2);
  clock.advance(1_000);
  expect(log.slice(2)).toEqual(['ping 75']);
  clock.advance(20_000);
  expect(log.slice(2)).toEqual(['ping 75', 'ping 85', 'lost 95']);
});

it('pings on while this side reads nothing, does not give up, and starts over after that', () => {
  const keepAlive = watch();
  keepAlive.start();
  isPaused = true;
  clock.advance(600_000);
  expect(log).toEqual(Array.from({ length: 20 }, (_, i) => `ping ${30 * (i + 1)}`));
  log.length = 0;
  isPaused = false;
  clock.advance(60_000);
  expect(log).toEqual(['ping 630', 'ping 640', 'lost 650']);
});

it('does not count pings as missed whose answers it could not read', () => {
  const keepAlive = watch();
  keepAlive.start();
  clock.advance(45_000);
  isPaused = true;
  clock.advance(15_000);
  isPaused = false;
  clock.advance(50_000);
  expect(log).toEqual(['ping 30', 'ping 40', 'ping 50', 'ping 80', 'ping 90', 'lost 100']);
});

it('gives up after one ping if that is all that may be missed', () => {
  watch({ maxMissed: 1, intervalMs: 15_000, timeoutMs: 5_000 }).start();
  clock.advance(60_000);
  expect(log).toEqual(['ping 15', 'lost 20']);
});

it('gives up without a ping if none may be missed', () => {
  watch({ maxMissed: 0 }).start();
  clock.advance(60_000);
  expect(log).toEqual(['lost 30']);
});

it('has an interval of its own if it is told one', () => {
  const keepAlive = watch();
  keepAlive.start(27_000);
  clock.advance(27_000);
  expect(log).toEqual(['ping 27']);
  keepAlive.heard();
  clock.advance(27_000);
  expect(log).toEqual(['ping 27', 'ping 54']);
  keepAlive.stop();
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
  const pass = (seconds: number): void => {
    for (let i = 0; i < seconds; i++) {
      keepAlive.heard();
      clock.advance(1000);
    }
  };
  busy = true;
  pass(300);
  busy = false;
  pass(200);
  // the last look that saw a call was less than 10 s before its end
  expect(log).toHaveLength(1);
  const [what, at] = (log[0] as string).split(' ');
  expect(what).toBe('idle');
  expect(Number(at)).toBeGreaterThanOrEqual(390);
  expect(Number(at)).toBeLessThanOrEqual(410);
});

it('has one timer, whatever comes in', () => {
  const keepAlive = watch();
  keepAlive.start();
  for (let i = 0; i < 1000; i++) keepAlive.heard();
  expect(clock.pending).toBe(1);
  keepAlive.stop();
});
