import { systemClock } from '../../lib/rpc/clock.js';

const timeouts = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

const turn = (ms = 0): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

it('counts milliseconds and never goes back', async () => {
  const before = systemClock.now();
  await turn(20);
  const passed = systemClock.now() - before;
  expect(passed).toBeGreaterThanOrEqual(19);
});

it('fires once, and not when it was cancelled', async () => {
  let fired = 0;
  let cancelled = 0;
  systemClock.after(1, () => (fired += 1));
  const timer = systemClock.after(1, () => (cancelled += 1));
  timer.cancel();
  timer.cancel();
  await turn(20);
  expect([fired, cancelled]).toEqual([1, 0]);
});

it('does not fire at once for times that Node cannot count: 25 days, or no end', async () => {
  let fired = 0;
  const timers = [2 ** 31, 1e12, Infinity].map((ms) => systemClock.after(ms, () => (fired += 1)));
  await turn(30);
  for (const timer of timers) timer.cancel();
  expect(fired).toBe(0);
});

it('keeps no process alive, unless somebody waits for it', () => {
  const before = timeouts();
  const timers = [1e5, 2 ** 31].map((ms) => systemClock.after(ms, () => {}));
  expect(timeouts() - before).toBe(0);
  for (const timer of timers) timer.hold(true);
  expect(timeouts() - before).toBe(2);
  timers[0]?.hold(false);
  expect(timeouts() - before).toBe(1);
  for (const timer of timers) timer.cancel();
  expect(timeouts() - before).toBe(0);
});
