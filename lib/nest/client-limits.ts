import type { Channel } from '../rpc/channel.js';
import { Expiring } from '../rpc/deadline-queue.js';
import { allowManyListeners } from '../rpc/listeners.js';
import { callTimeout } from '../rpc/pending-call.js';
import { cancelledBy } from './client-attempt.js';

/** Ends a channel that the server does not open in time, or, where the caller set a limit, the whole of it. */
export class ChannelLimit extends Expiring {
  constructor(
    private readonly channel: Channel,
    private readonly target: string,
    private readonly limit: { readonly timeoutMs: number; readonly whole: boolean },
  ) {
    super();
  }

  override expire(): void {
    if (!this.limit.whole && !this.channel.isDeclaring) return;
    this.channel.cancel(callTimeout({ target: this.target, timeoutMs: this.limit.timeoutMs }, 'response'));
  }
}

/** Cancels a channel with a signal. Returns what stops listening. */
export function cancelChannelOn(channel: Channel, signal: AbortSignal, target: string): () => void {
  const cancel = (): void => channel.cancel(cancelledBy(signal, target));
  allowManyListeners(signal);
  signal.addEventListener('abort', cancel, { once: true });
  return () => signal.removeEventListener('abort', cancel);
}
