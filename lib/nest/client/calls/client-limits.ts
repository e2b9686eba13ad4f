import type { Channel } from '../../../rpc/channel/channel.js';
import { allowManyListeners } from '../../../rpc/context/listeners.js';
import { cancelledBy } from './client-attempt.js';

/** Cancels a channel with a signal. Returns what stops listening. */
export function cancelChannelOn(channel: Channel, signal: AbortSignal, target: string): () => void {
  return onAbort(signal, () => channel.cancel(cancelledBy(signal, target)));
}

/** What `work` gives, unless a signal is aborted first: then the fault that says so. */
export function unlessAborted<T>(
  work: Promise<T>,
  signals: readonly AbortSignal[],
  target: string,
): Promise<T> {
  if (signals.length === 0) return work;
  return new Promise((resolve, reject) => {
    const unlisten = signals.map((signal) => onAbort(signal, () => reject(cancelledBy(signal, target))));
    void work.then(resolve, reject).then(() => {
      for (const stop of unlisten) stop();
    });
  });
}

function onAbort(signal: AbortSignal, listener: () => void): () => void {
  allowManyListeners(signal);
  signal.addEventListener('abort', listener, { once: true });
  return () => signal.removeEventListener('abort', listener);
}
