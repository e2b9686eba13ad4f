import type { Fault } from '../protocol/fault.js';
import type { ConnectionStatus } from './peer-source.js';

/** The status of a client of several servers, told once for each change. */
export class FleetStatus {
  /** Why a server was lost last. */
  lostBy: Fault | undefined;
  #status: ConnectionStatus = 'disconnected';

  constructor(private readonly onStatus: (status: ConnectionStatus, reason?: Fault) => void) {}

  get isConnected(): boolean {
    return this.#status === 'connected';
  }

  tell(status: ConnectionStatus): void {
    if (status === this.#status) return;
    const before = this.#status;
    this.#status = status;
    const reason = status === 'reconnecting' ? this.lostBy : undefined;
    if (reason && before === 'connected') this.onStatus('disconnected', reason);
    if (this.#status === status) this.onStatus(status, reason); // the listener may have closed it
  }
}
