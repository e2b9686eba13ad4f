/** Captured before a test fakes it. */
const afterThisTurn = setImmediate;

/**
 * A signal for code that gets it for the first time. If it was aborted before, a listener would wait for ever: the event is
 * dispatched again after this turn.
 */
export function audibleSignal(signal: AbortSignal): AbortSignal {
  if (signal.aborted) afterThisTurn(() => signal.dispatchEvent(new Event('abort')));
  return signal;
}
