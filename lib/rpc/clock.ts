import type { Clock } from '../protocol/clock.js';

/** The real clock: monotonic, with timers that keep no process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms).unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
