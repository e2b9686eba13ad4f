import { systemClock } from '../../../rpc/time/system-clock.js';
import type { ClientPeer } from '../../../rpc/client/client-peer.js';
import { callTimeout, type CallTiming } from '../../../rpc/client/call-timeout.js';
import { toRapError } from '../../errors/to-rap-error.js';

/** Measures the round trip to the peer, in milliseconds. @throws CallTimeoutError, or what ends the connection */
export function ping(peer: ClientPeer, timing: CallTiming): Promise<number> {
  const started = systemClock.now();
  return new Promise((resolve, reject) => {
    const timer = systemClock.after(timing.timeoutMs, () =>
      reject(toRapError(callTimeout(timing, 'response'))),
    );
    peer.measurePing({
      resolve: () => {
        timer.cancel();
        resolve(systemClock.now() - started);
      },
      reject: (fault) => {
        timer.cancel();
        reject(toRapError(fault));
      },
    });
  });
}
