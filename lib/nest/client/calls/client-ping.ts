import type { Clock } from '../../../protocol/clock.js';
import type { ClientPeer } from '../../../rpc/client/client-peer.js';
import { callTimeout, type CallTiming } from '../../../rpc/client/call-timeout.js';
import { toRapError } from '../../errors/to-rap-error.js';

/** Measures the round trip to the peer, in milliseconds. @throws CallTimeoutError, or what ends the connection */
export function ping(peer: ClientPeer, timing: CallTiming, clock: Clock): Promise<number> {
  const started = clock.now();
  return new Promise((resolve, reject) => {
    const timer = clock.after(timing.timeoutMs, () => reject(toRapError(callTimeout(timing, 'response'))));
    peer.measurePing({
      resolve: () => {
        timer.cancel();
        resolve(clock.now() - started);
      },
      reject: (fault) => {
        timer.cancel();
        reject(toRapError(fault));
      },
    });
  });
}
