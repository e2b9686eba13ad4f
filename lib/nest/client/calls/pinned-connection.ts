import type { ClientPeer } from '../../../rpc/client/client-peer.js';
import { connectionLost } from '../../../rpc/connection/connection-lost.js';
import { toRapError } from '../../errors/to-rap-error.js';

/** One connection that calls of a client go to: that of a session, or of `withConnection`. */
export interface CallPin {
  /** Id of the session, in the header of its calls; `undefined` without one. */
  readonly id: string | undefined;
  belongsTo(client: object): boolean;
  /** @throws ConnectionLostError if the connection is gone */
  openPeer(): ClientPeer;
}

/** The connection of `withConnection`: all calls inside go over it. */
export class PinnedConnection implements CallPin {
  readonly id = undefined;

  constructor(
    private readonly client: object,
    private readonly peer: ClientPeer,
  ) {}

  belongsTo(client: object): boolean {
    return this.client === client;
  }

  openPeer(): ClientPeer {
    if (this.peer.state === 'open') return this.peer;
    throw toRapError(
      connectionLost('the connection of withConnection() was lost or is shutting down', undefined, 'no'),
    );
  }
}
