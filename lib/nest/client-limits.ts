import type { Channel } from '../rpc/channel.js';
import { allowManyListeners } from '../rpc/listeners.js';
import { cancelledBy } from './client-attempt.js';

/** Cancels a channel with a signal. Returns what stops listening. */
export function cancelChannelOn(channel: Channel, signal: AbortSignal, target: string): () => void {
  const cancel = (): void => channel.cancel(cancelledBy(signal, target));
  allowManyListeners(signal);
  signal.addEventListener('abort', cancel, { once: true });
  return () => signal.removeEventListener('abort', cancel);
}
