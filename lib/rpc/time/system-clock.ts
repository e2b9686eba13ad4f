import type { Clock, Timer } from '../../protocol/clock.js';
import { PROCESS_CONTEXT } from '../context/async-context.js';

/** Longest time of a Node timer: 24.8 days. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A timer that comes later than this: the process did something else, or stood still, and has not looked at its sockets. */
const LATE_MS = 1;

/**
 * What the clock is made of, taken when this module is loaded: fake timers of a test framework must not stop a connection.
 *
 * @internal
 */
export const timers = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setImmediate: globalThis.setImmediate,
  clearImmediate: globalThis.clearImmediate,
  now: performance.now.bind(performance),
};

/**
 * The real clock: monotonic, with timers that keep no process alive, nor the async context of the code that needs one. A timer
 * that comes late waits until the sockets have been looked at: what a timeout waits for may lie there.
 */
export const systemClock: Clock = {
  now: () => timers.now(),
  after(ms, callback) {
    // Node counts to 2^31 - 1 and takes anything longer for 1 ms
    const step = Math.min(ms, MAX_TIMER_MS);
    const dueAt = timers.now() + Math.max(step, 1); // Node's shortest time
    const fire = (): void => {
      if (ms !== step) next = systemClock.after(ms - step, callback);
      else if (timers.now() - dueAt < LATE_MS) callback();
      else afterLook = timers.setImmediate(callback);
    };
    let next: Timer | undefined;
    let afterLook: NodeJS.Immediate | undefined;
    const timer = PROCESS_CONTEXT.run(
      (work: () => void) => timers.setTimeout(work, step),
      undefined,
      fire,
    ).unref();
    return {
      cancel() {
        timers.clearTimeout(timer);
        if (afterLook) timers.clearImmediate(afterLook);
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
