import type { Header } from '../protocol/frame.js';
import type { RemoteAddress } from '../protocol/link.js';

/** What is called: `unary` for one answer, `stream` for many, `channel` for messages in both directions, `event` for none. */
export type RapCallKind = 'unary' | 'stream' | 'channel' | 'event';

/** What the messages of all tracing channels say. All events of one call publish the same object. */
export interface RapOperation {
  /** What was opened: a call is `unary`, whatever it is answered with. */
  readonly kind: RapCallKind;
  /** `/<group>/<name>` as the caller asked for it, at most 256 characters. The peer of a server may send any text. */
  readonly target: string;
  /** Time from its start to its end in milliseconds; `undefined` until it has ended. */
  readonly durationMs: number | undefined;
  /** `OK`, or the short name of the error: see `outcome` in docs/observability.md. `undefined` until it has ended. */
  readonly outcome: string | undefined;
  /** Why it failed. A client's own call that was given up without an error, as by `unsubscribe()` or `break`, has none. */
  readonly error: unknown;
  /** Messages that this side has sent for it up to now, its parameters included. */
  readonly messagesSent: number;
  /** Messages that it has received for it up to now; an answer counts if it is no error. */
  readonly messagesReceived: number;
}

/** What a client does. */
export interface RapClientOperation extends RapOperation {
  /** What is sent: the header of the application, and the target. */
  readonly header: Header;
  /** The server in messages: `localhost:9000`; of several, the one that was tried last, as far as it is known. */
  readonly server: string;
  /**
   * Adds a header; only while `start` is published. Later headers replace earlier ones of the same name.
   *
   * @throws RangeError for a header that only the protocol sets
   */
  setHeader(key: string, value: unknown): void;
}

/** Message of `rap.client.call`. */
export interface RapClientCall extends RapClientOperation {
  readonly kind: 'unary' | 'event';
}

/** Message of `rap.client.channel`. */
export interface RapClientChannel extends RapClientOperation {
  readonly kind: 'stream' | 'channel';
}

/** Message of `rap.client.attempt` and `rap.client.retry`. */
export interface RapFurtherAttempt {
  /** The call that it belongs to. */
  readonly call: RapClientOperation;
  /** 2 for the second. */
  readonly number: number;
  /** It runs beside the attempt before it, and not after its failure. */
  readonly isHedge: boolean;
  readonly server: string;
  /** Why the attempt before it failed: the short name of its error; `undefined` for a hedge. */
  readonly reason: string | undefined;
  /** As that of the call; `undefined` until it has ended. */
  readonly outcome: string | undefined;
  /** Why it failed. */
  readonly error: unknown;
  /** As that of the call, for this attempt alone. */
  setHeader(key: string, value: unknown): void;
}

/** A connection, as its messages show it. */
export interface RapPeerInfo {
  /** Unique name, given by the server. */
  readonly id: string;
  /** Address of the other end. */
  readonly remote: RemoteAddress;
  /** Address of this end. */
  readonly local: RemoteAddress;
  /** What the client sent about itself when it connected. */
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** What a server does. */
export interface RapServerOperation extends RapOperation {
  /** The function as it was registered; `undefined` if there is none for the target. */
  readonly method: RapFunctionName | undefined;
  /** As it was received. */
  readonly header: Header;
  /** Id of the call on its connection. */
  readonly correlationId: number;
  /** The connection that it came on. */
  readonly connection: RapPeerInfo;
  /**
   * Runs what handles the call inside of `around`, such as the scope of a context; only while `start` is published. What is
   * added later is outside. `around` calls its argument once, at once; the call goes on without it if it does not.
   */
  runWith(around: (work: () => void) => void): void;
}

/** The name of a function in the registry. */
export interface RapFunctionName {
  /** `default` unless another one was given. */
  readonly group: string;
  /** Its name in the group. */
  readonly name: string;
}

/** Message of `rap.server.call`. */
export type RapServerCall = RapServerOperation;
/** Message of `rap.server.channel`. */
export type RapServerChannel = RapServerOperation;

/** Message of `rap.client.connection` and `rap.server.connection`. */
export interface RapConnectionChange {
  /** Its new state. */
  readonly state: 'open' | 'closed';
  /** Which one. */
  readonly connection: RapPeerInfo;
  /** Why it is closed. */
  readonly reason: Error | undefined;
}

/** Message of `rap.client.endpoint`. */
export interface RapEndpointChange {
  /** `host:port`, or the path of a Unix socket. */
  readonly address: string;
  /** As `client.stats().endpoints` tells it. */
  readonly state: string;
  /** Why, as text for people; `undefined` if there is nothing to tell. */
  readonly reason: string | undefined;
}

/** Message of `rap.client.ejection`. */
export type RapEjection = Omit<RapEndpointChange, 'state'>;

/**
 * Why a server has refused something. `limit`: of a connection, an address or the server; `loopDelay` and `adaptiveLimit`: it is
 * overloaded; `shutdown`; `processor`: a processor answered 429; `expired`: no time was left; `connections`: too many of them; `middleware`:
 * one of connections did not admit it.
 */
export type RapRefusalReason =
  | 'limit'
  | 'loopDelay'
  | 'adaptiveLimit'
  | 'shutdown'
  | 'processor'
  | 'expired'
  | 'connections'
  | 'middleware';

/** Message of `rap.server.refusal`. */
export interface RapRefusal {
  /** What was refused: a unary call or an event is a `call`, a stream or channel is a `channel`. */
  readonly what: 'call' | 'channel' | 'connection';
  /** Why. */
  readonly reason: RapRefusalReason;
}

/** Message of `rap.collect`: each server and client calls its function, at once. */
export interface RapCollection {
  /** Takes the numbers of one server. */
  server(stats: RapServerNumbers): void;
  /** Takes the numbers of one client. */
  client(stats: RapClientNumbers): void;
}

/** What a server has now. */
export interface RapServerNumbers {
  /** Open connections. */
  readonly connections: number;
  /** Calls, events, streams and channels whose handlers run. */
  readonly inFlight: number;
  /** Those of them that were opened as streams or channels. */
  readonly channels: number;
  /** Channels and streams whose messages wait for credit of the peer. */
  readonly waitingForCredit: number;
}

/** What a client has now. */
export interface RapClientNumbers {
  /** Open connections. */
  readonly connections: number;
  /** Calls that were sent and not answered. */
  readonly inFlight: number;
  /** Calls that wait to be sent. */
  readonly queued: number;
  /** Open channels and streams. */
  readonly channels: number;
  /** Channels and streams whose messages wait for credit of the server. */
  readonly waitingForCredit: number;
  /** The states of its servers, if it may have several. */
  readonly endpoints: readonly string[];
}
