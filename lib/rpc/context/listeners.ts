import { setMaxListeners } from 'node:events';

/** One signal for many calls is not a leak: Node need not warn of it. */
export function allowManyListeners(signal: AbortSignal): void {
  try {
    setMaxListeners(0, signal);
  } catch {
    // a signal of another realm, as in a test runner: Node does not accept it, and does not warn either
  }
}
