import type { Clock, Timer } from '../protocol/clock.js';
import { PROCESS_CONTEXT } from './async-context.js';

/** Longest time of a Node timer: 24.8 days. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * What the clock is made of, taken when this module is loaded: fake timers of a test framework must not stop a connection.
 *
 * @internal
 */
export const timers = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  now: performance.now.bind(performance),
};

/** The real clock: monotonic, with timers that keep no process alive, nor the async context of the code that needs one. */
export const systemClock: Clock = {
  now: () => timers.now(),
  after(ms, callback) {
    // Node counts to 2^31 - 1 and takes anything longer for 1 ms
    const step = Math.min(ms, MAX_TIMER_MS);
    const fire = (): void => {
      if (ms === step) return callback();
      next = systemClock.after(ms - step, callback);
    };
    let next: Timer | undefined;
    const timer = PROCESS_CONTEXT.run(
      (work: () => void) => timers.setTimeout(work, step),
      undefined,
      fire,
    ).unref();
    return {
      cancel() {
        timers.clearTimeout(timer);
        next?.cancel();
      },
      hold(isAwaited) {
        if (isAwaited) timer.ref();
        else timer.unref();
        next?.hold(isAwaited);
      },
    };
  },
};
