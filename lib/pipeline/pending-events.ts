import type { Clock } from '../protocol/clock.js';
import type { Fault } from '../protocol/fault.js';
import { type CallRequest, timeLeftOf } from '../rpc/client/call-request.js';
import { callTimeout } from '../rpc/client/call-timeout.js';

/** Events of this side in asynchronous processors. Each ends once: sent, failed, timed out, or lost with its connection. */
export class PendingEvents {
  readonly #ends = new Set<(fault: Fault) => void>();

  constructor(private readonly clock: Clock) {}

  /**
   * Waits for the work on an event, until its deadline. `giveUp` is called with the reason if it ends before the work is done.
   *
   * @throws (rejects with) the error of the work, or the reason
   */
  wait(work: Promise<void>, request: CallRequest, giveUp: (fault: Fault) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (fault: Fault): void => {
        settle();
        giveUp(fault);
        reject(fault);
      };
      const timer = this.clock.after(timeLeftOf(request), () => end(callTimeout(request, 'queue')));
      const settle = (): void => {
        timer.cancel();
        this.#ends.delete(end);
      };
      this.#ends.add(end);
      void work.finally(settle).then(resolve, reject);
    });
  }

  failAll(fault: Fault): void {
    for (const end of this.#ends) end(fault);
  }
}
