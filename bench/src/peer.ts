/** The operations of a peer's client. A scenario names the operation that it needs; a peer implements those that it supports. */
export interface PeerClient {
  /**
   * One call with one answer. The answer is the value that the peer's own client returns, so that no peer pays
   * for unwrapping that its users would not do; see {@link PeerClient.unwrap}.
   */
  readonly unary?: (name: string, body: unknown) => Promise<unknown>;
  /** Extracts the plain value from an answer, if the protocol can only send it inside a message. */
  readonly unwrap?: (answer: unknown) => unknown;
  /**
   * Reads a server's stream, item by item, until `take` returns false: then it cancels. `take` never throws.
   * Resolves when the stream is over on this side.
   */
  readonly consume?: (name: string, params: StreamParams, take: (item: unknown) => boolean) => Promise<void>;
  /**
   * Maximum items of a stream of this peer: without backpressure it cannot be endless. Such a stream is read to its end.
   */
  readonly longestStream?: number;
  /** Opens a server's stream for a reader that asks for each item. */
  readonly open?: (name: string, params: StreamParams) => ItemSource;
  /**
   * Streams the numbers that `next` returns to the server, as fast as the server takes them, until there are none.
   * Resolves to the server's result.
   */
  readonly produce?: (name: string, next: () => number | undefined) => Promise<unknown>;
  /**
   * Sends the first numbers over one duplex stream, and for each that comes back the result of `answer`. Resolves
   * when as many have come back as were sent. `answer` never throws.
   */
  readonly exchange?: (
    name: string,
    first: readonly number[],
    answer: (echo: unknown) => number | undefined,
  ) => Promise<void>;
}

export interface StreamParams {
  /** How many items the stream has. */
  n: number;
}

/** A stream that is read item by item. */
export interface ItemSource {
  /** The next item; undefined after the last one. */
  read(): Promise<unknown>;
  cancel(): Promise<void>;
}

/** One contender: a server and a client, in separate processes. */
export interface Peer {
  /** Starts the server on a free port of the loopback interface. Resolves to the port. */
  startServer(): Promise<number>;
  /** Opens one connection to the server. */
  connect(port: number): Promise<PeerClient>;
}

export const HOST = '127.0.0.1';

/** The port from the result of a server's `address()`. */
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
