/** What a peer's client can do. A scenario says which operation it needs; a peer offers those it has. */
export interface PeerClient {
  /**
   * One call with one answer. The answer is what the peer's own client gives its user, so that no peer pays
   * for unwrapping that its users would not do; see {@link PeerClient.unwrap}.
   */
  readonly unary?: (name: string, body: unknown) => Promise<unknown>;
  /** Takes the plain value out of an answer, where the protocol cannot send one without a message around it. */
  readonly unwrap?: (answer: unknown) => unknown;
  /**
   * Takes a server's stream, an item after the other, until `take` returns false: then it cancels. `take` never throws.
   * Resolves when the stream is over, for this side.
   */
  readonly consume?: (name: string, params: StreamParams, take: (item: unknown) => boolean) => Promise<void>;
  /**
   * Items that a stream of this peer has at most: it cannot be endless where nothing slows its server down. Such a
   * stream is taken to its end.
   */
  readonly longestStream?: number;
  /** Opens a server's stream for a reader that asks for each item. */
  readonly open?: (name: string, params: StreamParams) => ItemSource;
  /**
   * Streams the numbers that `next` makes to the server, as fast as the server takes them, until there are none.
   * Resolves to what the server says then.
   */
  readonly produce?: (name: string, next: () => number | undefined) => Promise<unknown>;
  /**
   * Sends the first numbers over one duplex stream, and for each that comes back what `answer` makes of it. Resolves
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

/** A stream as one takes items out of it. */
export interface ItemSource {
  /** The next item; undefined after the last one. */
  read(): Promise<unknown>;
  cancel(): Promise<void>;
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
