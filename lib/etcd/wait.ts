import type { Clock } from '../protocol/clock.js';

/** Lets time pass, without keeping the process alive. Resolves early if the signal is aborted. */
export function wait(clock: Clock, ms: number, signal: AbortSignal, isAwaited = false): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = clock.after(ms, () => {
      signal.removeEventListener('abort', stop);
      resolve();
    });
    timer.hold(isAwaited);
    const stop = (): void => {
      timer.cancel();
      resolve();
    };
    signal.addEventListener('abort', stop, { once: true });
  });
}
