/** Taken before a test fakes it. */
const afterThisTurn = setImmediate;

/**
 * A signal for code that asks for it for the first time. Where it was aborted before, a listener would wait for ever: the
 * event comes again then, when this turn is over.
 */
export function audibleSignal(signal: AbortSignal): AbortSignal {
  if (signal.aborted) afterThisTurn(() => signal.dispatchEvent(new Event('abort')));
  return signal;
}
