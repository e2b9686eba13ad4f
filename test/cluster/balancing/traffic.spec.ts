import { LATENCY_DECAY_MS, Traffic } from '../../../lib/cluster/balancing/traffic.js';
import { loadReport } from './fleet.js';

function answered(traffic: Traffic, startedAt: number, now: number): void {
  traffic.begin(startedAt);
  traffic.end(now, startedAt, 'answered');
}

function failed(traffic: Traffic, startedAt: number, now: number): void {
  traffic.begin(startedAt);
  traffic.end(now, startedAt, 'failed');
}

it('counts calls in flight, picks and failures', () => {
  const traffic = new Traffic();
  traffic.begin(0);
  traffic.begin(0);
  traffic.begin(0);
  traffic.end(5, 0, 'answered');
  traffic.end(5, 0, 'failed');
  expect([traffic.inFlight, traffic.picks, traffic.failures]).toEqual([1, 3, 1]);
});

it('has the first latency as it is, even of 0 ms', () => {
  const traffic = new Traffic();
  expect([traffic.hasHistory, traffic.latencyMs(0), traffic.latencyMs(0, 7)]).toEqual([false, 0, 7]);
  answered(traffic, 0, 0);
  expect([traffic.hasHistory, traffic.latencyMs(0), traffic.latencyMs(0, 7)]).toEqual([true, 0, 0]);
});

it('is raised at once by a slow call, and lowered over time by fast ones', () => {
  const traffic = new Traffic();
  answered(traffic, 0, 10);
  answered(traffic, 10, 210);
  expect(traffic.latencyMs(210)).toBe(200);
  for (let i = 0; i < 100; i += 1) answered(traffic, 205, 210);
  expect(traffic.latencyMs(210)).toBe(200); // no time has passed: a burst of fast calls weighs nothing
  answered(traffic, 205 + LATENCY_DECAY_MS, 210 + LATENCY_DECAY_MS);
  expect(traffic.latencyMs(210 + LATENCY_DECAY_MS)).toBeCloseTo(5 + 195 / Math.E, 6);
});

it('approaches rest from both sides while no call ends', () => {
  const traffic = new Traffic();
  answered(traffic, 0, 100);
  expect(traffic.latencyMs(100 + LATENCY_DECAY_MS, 20)).toBeCloseTo(20 + 80 / Math.E, 6);
  expect(traffic.latencyMs(100 + LATENCY_DECAY_MS, 300)).toBeCloseTo(300 - 200 / Math.E, 6);
  expect(traffic.latencyMs(1e9, 20)).toBe(20);
});

it('counts a failure as ten times the latency so far, and a row of them as at most 10 s', () => {
  const traffic = new Traffic();
  answered(traffic, 0, 4);
  failed(traffic, 4, 5);
  expect(traffic.latencyMs(5)).toBe(40);
  failed(traffic, 5, 6);
  expect(traffic.latencyMs(6)).toBe(400);
  for (let now = 6; now < 20; now += 1) failed(traffic, now, now + 1);
  expect(traffic.latencyMs(20)).toBe(10_000);
});

it('counts a failure that took longer than that as what it took', () => {
  const traffic = new Traffic();
  failed(traffic, 0, 60_000);
  expect(traffic.latencyMs(60_000)).toBe(60_000);
});

it('never lowers the latency by a fast failure, nor lets it be 0', () => {
  const slow = new Traffic();
  answered(slow, 0, 30_000);
  failed(slow, 30_000, 30_000);
  expect(slow.latencyMs(30_000)).toBe(30_000);
  const fresh = new Traffic();
  failed(fresh, 0, 0);
  expect(fresh.latencyMs(0)).toBe(1_000);
});

it('counts a failure as high even if calls took 0 ms before', () => {
  const traffic = new Traffic();
  answered(traffic, 0, 0);
  failed(traffic, 0, 0);
  expect(traffic.latencyMs(0)).toBeGreaterThan(0);
});

it('counts the failures of one lost connection once', () => {
  const traffic = new Traffic();
  answered(traffic, 0, 10);
  for (let i = 0; i < 50; i += 1) traffic.begin(10);
  for (let i = 0; i < 50; i += 1) traffic.end(20, 10, 'failed');
  expect([traffic.failures, traffic.latencyMs(20)]).toEqual([50, 100]);
});

it('learns nothing from an ignored call', () => {
  const traffic = new Traffic();
  traffic.begin(0);
  traffic.end(5_000, 0, 'ignored');
  expect([traffic.inFlight, traffic.failures, traffic.hasHistory]).toEqual([0, 0, false]);
});

it('bears a clock that stands still or a start after the end', () => {
  const traffic = new Traffic();
  answered(traffic, 10, 5);
  expect(traffic.latencyMs(0)).toBe(0);
});

it('takes the calls of others from the last report, and its own as they are now', () => {
  const traffic = new Traffic();
  traffic.begin(0);
  traffic.begin(0);
  expect([traffic.othersInFlight, traffic.knownInFlight]).toEqual([0, 2]);
  traffic.reported(loadReport({ inFlight: 9 }), 1);
  expect([traffic.othersInFlight, traffic.knownInFlight, traffic.reportedAt]).toEqual([7, 9, 1]);
  traffic.begin(2);
  expect(traffic.knownInFlight).toBe(10);
  for (let i = 0; i < 3; i += 1) traffic.end(3, 0, 'answered');
  expect(traffic.knownInFlight).toBe(7);
  // a report that was sent before calls that are on their way
  traffic.begin(4);
  for (const inFlight of [0, Number.NaN, undefined]) {
    traffic.reported(loadReport({ inFlight }), 4);
    expect(traffic.knownInFlight).toBe(1);
  }
});

it('compares the mean that a server reports with the mean of its own calls since the report before', () => {
  const traffic = new Traffic();
  traffic.reported(loadReport({ inFlight: 0 }), 0);
  for (let i = 0; i < 4; i += 1) traffic.begin(50);
  for (let i = 0; i < 4; i += 1) traffic.end(75, 50, 'answered');
  // four calls for a quarter of the time
  traffic.reported(loadReport({ inFlight: 3.5 }), 100);
  expect([traffic.othersInFlight, traffic.knownInFlight]).toEqual([2.5, 2.5]);
  traffic.begin(100);
  traffic.reported(loadReport({ inFlight: 3.5 }), 200);
  expect([traffic.othersInFlight, traffic.knownInFlight]).toEqual([2.5, 3.5]);
});

it('is less sure of the calls of others, the older their report is for what calls take', () => {
  const traffic = new Traffic();
  traffic.begin(0);
  traffic.reported(loadReport({ inFlight: 9, latencyMs: 10 }), 0);
  expect(traffic.surelyInFlight(0)).toBe(9);
  expect(traffic.surelyInFlight(10)).toBe(5);
  expect(traffic.surelyInFlight(1e9)).toBeCloseTo(1, 5);
  traffic.reported(loadReport({ inFlight: 9 }), 0);
  expect(traffic.surelyInFlight(10)).toBeCloseTo(1, 2);
});

it('remembers the load of a server over some seconds, and a moment of a very high one no longer', () => {
  const traffic = new Traffic();
  expect(traffic.usualLoad).toBeNaN();
  traffic.reported(loadReport({ inFlight: 4 }), 0);
  expect(traffic.usualLoad).toBeNaN();
  const usual = loadReport({ inFlight: 3, latencyMs: 16 });
  traffic.reported(usual, 0);
  expect(traffic.usualLoad).toBe(8);
  traffic.reported(loadReport({ inFlight: 3_999, latencyMs: 16 }), 4_000);
  expect(traffic.usualLoad).toBeCloseTo(16, 1);
  traffic.reported(usual, 8_000);
  expect(traffic.usualLoad).toBeLessThan(11);
  traffic.joined(9_000);
  expect(traffic.usualLoad).toBeNaN();
});

it('says how long a call has waited at least, and all its calls together', () => {
  const traffic = new Traffic();
  expect(traffic.waitedMs(5)).toBe(0);
  traffic.opened();
  expect(traffic.waitedMs(50)).toBe(0);
  traffic.begin(10);
  traffic.begin(20);
  expect([traffic.waitedMs(30), traffic.allWaitedMs(30)]).toEqual([20, 40]);
  traffic.end(30, 10, 'answered');
  expect([traffic.waitedMs(31), traffic.waitedMs(0)]).toEqual([1, 0]);
});

it('forgets the old process when another joins at its address, but not the calls in flight', () => {
  const traffic = new Traffic();
  failed(traffic, 0, 1);
  traffic.reported(loadReport({ inFlight: 9 }), 1);
  traffic.begin(1);
  traffic.joined(100);
  expect([traffic.hasHistory, traffic.report, traffic.joinedAt]).toEqual([false, undefined, 100]);
  expect([traffic.inFlight, traffic.picks, traffic.failures]).toEqual([1, 2, 1]);
});

it('tells its watcher of each change', () => {
  const traffic = new Traffic();
  const changes: unknown[] = [];
  traffic.slot = 3;
  traffic.watcher = { inFlightChanged: (...change) => changes.push(change) };
  answered(traffic, 0, 1);
  expect(changes).toEqual([
    [3, 1],
    [3, -1],
  ]);
});

it('knows that a call in flight takes long before it ends', () => {
  const traffic = new Traffic();
  answered(traffic, 0, 10);
  traffic.begin(100);
  traffic.begin(150);
  expect(traffic.latencyMs(105, 10)).toBe(10);
  expect(traffic.latencyMs(400, 10)).toBe(300);
  traffic.end(400, 150, 'ignored');
  expect(traffic.latencyMs(450, 10)).toBe(50); // at least so old is the oldest
  traffic.end(450, 100, 'ignored');
  expect(traffic.latencyMs(10_000, 10)).toBe(10);
  expect(new Traffic().latencyMs(10_000, 10)).toBe(10);
});

it('takes the duration of a channel for no latency, with calls beside it or without', () => {
  const traffic = new Traffic();
  answered(traffic, 0, 10);
  traffic.opened();
  expect([traffic.inFlight, traffic.picks, traffic.latencyMs(90_000, 10)]).toEqual([1, 2, 10]);
  traffic.begin(90_000);
  expect(traffic.latencyMs(90_020, 10)).toBe(20);
  traffic.end(90_020, 90_000, 'ignored');
  traffic.closed();
  expect([traffic.inFlight, traffic.channels, traffic.latencyMs(99_000, 10)]).toEqual([0, 0, 10]);
});

it('a call that nobody waits for any longer takes at least as long as it was waited for', () => {
  const traffic = new Traffic();
  traffic.begin(0);
  traffic.end(10, 0, 'answered');
  traffic.begin(10);
  traffic.end(15, 10, 'abandoned'); // it may have been as fast as the others
  expect(traffic.latencyMs(15)).toBeCloseTo(10, 1);
  traffic.begin(20);
  traffic.end(520, 20, 'abandoned'); // such as the slower one of two attempts
  expect([traffic.latencyMs(520), traffic.failures]).toEqual([500, 0]);
  traffic.begin(520);
  traffic.end(1_520, 520, 'ignored');
  expect(traffic.latencyMs(1_520)).toBeLessThan(500);
});
