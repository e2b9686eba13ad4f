import type { BalancedCalls, PinnedLease } from '../../../cluster/peer-source.js';
import type { ClientPeer } from '../../../rpc/client/client-peer.js';
import { connectionLost } from '../../../rpc/connection/connection-lost.js';
import { toRapError } from '../../errors/to-rap-error.js';

/** One connection that calls of a client go to: that of a session, or of `withConnection`. */
export interface CallPin {
  /** Id of the session, in the header of its calls; `undefined` without one. */
  readonly id: string | undefined;
  belongsTo(client: object): boolean;
  /** What its calls go through, if the client has several servers. */
  readonly balanced: BalancedCalls | undefined;
  /** @throws ConnectionLostError if the connection is gone */
  openPeer(): ClientPeer;
}

/** The connection of `withConnection`: all calls inside go over it. */
export class PinnedConnection implements CallPin {
  readonly id = undefined;

  constructor(
    private readonly client: object,
    private readonly lease: PinnedLease,
  ) {}

  get balanced(): BalancedCalls | undefined {
    return this.lease.balanced;
  }

  belongsTo(client: object): boolean {
    return this.client === client;
  }

  openPeer(): ClientPeer {
    const { peer } = this.lease;
    if (peer.state === 'open') return peer;
    throw toRapError(
      connectionLost('the connection of withConnection() was lost or is shutting down', undefined, 'no'),
    );
  }
}
