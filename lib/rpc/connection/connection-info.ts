import type { Extension } from '../../protocol/extension.js';
import type { RemoteAddress } from '../../protocol/link.js';

export type Role = 'client' | 'server';

/** Facts about a connection, for code that only reads them. */
export interface ConnectionInfo {
  /** Unique name, given by the server; on a client empty before DECLARE is answered. */
  readonly id: string;
  readonly role: Role;
  readonly remote: RemoteAddress;
  /** What the client said about itself in DECLARE. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Whether both sides offered the extension. */
  has(extension: Extension): boolean;
}

/** A connection that its reader may also end. */
export interface ConnectionHandle extends ConnectionInfo {
  readonly isClosed: boolean;
  /** Closes the connection after what was sent so far; everything pending fails with the reason. */
  close(reason: string): void;
  /** Calls back once when the connection is over. */
  whenClosed(callback: () => void): void;
}
