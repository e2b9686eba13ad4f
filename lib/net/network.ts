import type { AddressInfo, Server, Socket } from 'node:net';
import type { Endpoint } from './address.js';

/** Where servers listen and clients connect, instead of the machine's network: in memory, without a port. */
export interface Network {
  /**
   * `server` gets the connections of this endpoint, as `connection` events.
   *
   * @returns the address that it listens on
   * @throws Error with Node's code (`EADDRINUSE`)
   */
  listen(server: Server, endpoint: Endpoint): AddressInfo | string;
  /** `server` gets no more connections. */
  stop(server: Server): void;
  /** A socket that will emit `connect`, or `error`. */
  connect(endpoint: Endpoint): Socket;
}
