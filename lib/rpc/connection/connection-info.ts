import type { Extension } from '../../protocol/extension.js';
import type { RemoteAddress } from '../../protocol/link.js';

export type Role = 'client' | 'server';

/** Read-only facts about a connection. */
export interface ConnectionInfo {
  /** Unique name, assigned by the server; on a client empty until DECLARE is answered. */
  readonly id: string;
  readonly role: Role;
  readonly remote: RemoteAddress;
  readonly local: RemoteAddress;
  /** Metadata that the client sent in DECLARE. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Whether both sides offered the extension. */
  has(extension: Extension): boolean;
}

/** A connection that its holder may also close. */
export interface ConnectionHandle extends ConnectionInfo {
  readonly isClosed: boolean;
  /** Closes the connection after flushing what was sent; everything pending fails with the reason. */
  close(reason: string): void;
  /** Calls back once when the connection is closed; at once if it is. */
  whenClosed(callback: () => void): void;
}
