/** What a peer's client can do. A scenario says which operation it needs; a peer offers those it has. */
export interface PeerClient {
  /**
   * One call with one answer. The answer is what the peer's own client gives its user, so that no peer pays
   * for unwrapping that its users would not do; see {@link PeerClient.unwrap}.
   */
  readonly unary?: (name: string, body: unknown) => Promise<unknown>;
  /** Takes the plain value out of an answer, where the protocol cannot send one without a message around it. */
  readonly unwrap?: (answer: unknown) => unknown;
}

/** One contender: a server and a client that run in a process each. */
export interface Peer {
  /** Starts the server on a free port of the loopback interface. Resolves to the port. */
  startServer(): Promise<number>;
  /** Opens one connection to the server. */
  connect(port: number): Promise<PeerClient>;
}

export const HOST = '127.0.0.1';

/** Reads the port out of what a server's `address()` returns. */
export function portOf(address: unknown): number {
  if (
    typeof address === 'object' &&
    address !== null &&
    'port' in address &&
    typeof address.port === 'number'
  ) {
    return address.port;
  }
  throw new Error(`The server listens on no port: ${JSON.stringify(address)}`);
}
