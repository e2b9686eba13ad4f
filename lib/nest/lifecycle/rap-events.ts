import type { AddressInfo } from 'node:net';
import type { RemoteAddress } from '../../protocol/link.js';

/** State of a server or client, as `status` tells it. */
export const RapStatus = {
  Disconnected: 'disconnected',
  Connecting: 'connecting',
  Connected: 'connected',
  /** A client that lost its server, which was `disconnected`, and is coming back. */
  Reconnecting: 'reconnecting',
} as const;

export type RapStatus = (typeof RapStatus)[keyof typeof RapStatus];

/** Who is connected. */
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
  /** A client has connected and said DECLARE. */
  connection: (connection: RapConnectionInfo) => void;
  /** A client is gone, and why. */
  disconnect: (connection: RapConnectionInfo, reason: Error) => void;
  /** A fault of the listening socket; the server goes on. */
  error: (error: Error) => void;
  /** The server has stopped. */
  close: () => void;
};

/** Events of `RapClient.on`. */
export type RapClientEvents = {
  connect: () => void;
  /** The connection is gone; with `reconnect`, `reconnecting` follows, and the client comes back by itself. */
  disconnect: (reason: Error | undefined) => void;
  reconnecting: (reason: Error | undefined) => void;
};
