import type { Server, Socket } from 'node:net';
import type { RemoteAddress } from '../protocol/link.js';

/** A connection of this process. */
export interface OpenLink {
  readonly local: RemoteAddress;
  readonly remote: RemoteAddress;
  unwrap(): Socket;
}

/** Connections of this process that are not closed. */
export const openLinks = new Set<OpenLink>();

/** Servers of this process that were not closed. */
export const openServers = new Set<Server>();

export function openedLink(link: OpenLink, socket: Socket): void {
  openLinks.add(link);
  socket.once('close', () => openLinks.delete(link));
}

export function openedServer(server: Server): void {
  openServers.add(server);
  server.once('close', () => openServers.delete(server));
}
