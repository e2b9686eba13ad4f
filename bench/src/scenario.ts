import type { ClientMeasurement } from './measurement.js';
import type { PeerClient } from './peer.js';
import type { PeerName } from './peers.js';

export interface Scenario {
  readonly title: string;
  readonly unit: string;
  readonly peers: readonly PeerName[];
  /** The peer that the others are relative to; null if a ratio is not meaningful. */
  readonly base: PeerName | null;
  /** Whether to compare with Nest gRPC, too, which is not the base. */
  readonly alsoToGrpc?: boolean;
  /** The unit is the number of items that the server is ahead of the client; the bench asks both while they run. */
  readonly isWatched?: boolean;
  /** Prepares the run over this connection. */
  prepare(client: PeerClient): Promise<Runner>;
}

export interface Runner {
  run(seconds: number): Promise<ClientMeasurement>;
  /** Items taken so far, if the scenario is watched and the reader is running. */
  readonly itemsRead?: number;
}
