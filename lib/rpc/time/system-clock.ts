import type { Clock, Timer } from '../../protocol/clock.js';
import { PROCESS_CONTEXT } from '../context/async-context.js';

/** Longest time of a Node timer: 24.8 days. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A timer that fires later than this: the process was blocked, and has not polled its sockets. */
const LATE_MS = 1;

/**
 * The functions of the clock, as they are when this module is loaded: fake timers of a test framework must not stop a connection.
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
 * The real clock: monotonic, with timers that keep neither the process alive nor the async context of the code that sets them.
 * A late timer waits for a poll of the sockets: the answer that a timeout waits for may lie there.
 */
export const systemClock: Clock = {
  now: () => timers.now(),
  after(ms, callback) {
    // Node's limit is 2^31 - 1 ms; anything longer counts as 1 ms
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
