import type { ClientMeasurement } from './measurement.js';
import type { PeerClient } from './peer.js';
import type { PeerName } from './peers.js';

export interface Scenario {
  readonly title: string;
  readonly unit: string;
  readonly peers: readonly PeerName[];
  /** The peer that the others are divided by; null where a quotient would say nothing. */
  readonly base: PeerName | null;
  /** Nest gRPC, which is not the base, is worth a comparison too. */
  readonly alsoToGrpc?: boolean;
  /** Its unit counts the items that the server is ahead of the client, which the bench asks both for while they run. */
  readonly isWatched?: boolean;
  /** Makes ready what runs over this connection. */
  prepare(client: PeerClient): Promise<Runner>;
}

export interface Runner {
  run(seconds: number): Promise<ClientMeasurement>;
  /** Items taken so far, where the scenario is watched and the reader is at it. */
  readonly itemsRead?: number;
}
