import type { AddressInfo } from 'node:net';
import type { RemoteAddress } from '../../protocol/link.js';

/** State of a server or client, as in `status`. */
export const RapStatus = {
  Disconnected: 'disconnected',
  Connecting: 'connecting',
  Connected: 'connected',
  /** A client that has lost its connection and reconnects. */
  Reconnecting: 'reconnecting',
} as const;

export type RapStatus = (typeof RapStatus)[keyof typeof RapStatus];

/** A client that is connected. */
export interface RapConnectionInfo {
  /** Unique name of the connection. */
  readonly id: string;
  readonly peer: RemoteAddress;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** Events of `RapServer.on`. */
export type RapServerEvents = {
  /** The server listens. */
  listening: (address: AddressInfo | string) => void;
  /** A client has connected and sent DECLARE. */
  connection: (connection: RapConnectionInfo) => void;
  /** A client has disconnected, with the reason. */
  disconnect: (connection: RapConnectionInfo, reason: Error) => void;
  /** `drain()` or `close()` has begun, and nothing is refused yet: time to leave a registry. Once for each `listening`. */
  draining: () => void;
  /** An error of the listening socket; the server goes on. */
  error: (error: Error) => void;
  /** The server has stopped. */
  close: () => void;
};
