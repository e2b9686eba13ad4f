import { setMaxListeners } from 'node:events';

/** Calls a listener once when the signal aborts; not if it has aborted already. @returns a function that stops listening */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  allowManyListeners(signal);
  signal.addEventListener('abort', listener, { once: true });
  return () => signal.removeEventListener('abort', listener);
}

/** One signal for many calls is not a leak: Node need not warn of it. */
export function allowManyListeners(signal: AbortSignal): void {
  try {
    setMaxListeners(0, signal);
  } catch {
    // a signal of another realm, as in a test runner: Node does not accept it, and does not warn either
  }
}
